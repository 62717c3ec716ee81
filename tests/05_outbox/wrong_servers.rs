//! Wrong servers, each with the test that must refuse it and words of its complaint.

use harness::refused;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};

use super::lazy::*;

#[test]
fn are_refused() {
    refused! {
        one_sleeper_stops_all by a_client_that_does_not_read_harms_no_other_client:
            "has to wait. With the room locked";
    }
}

/// Writes to each client while the room is locked, as stage 04 does.
fn one_sleeper_stops_all(hosted: Hosted) {
    serve(hosted, Fault::None);
}
