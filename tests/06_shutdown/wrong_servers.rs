//! Wrong servers, each with the test that must refuse it and words of its complaint.

use harness::refused;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};

use super::shutdown::*;

#[test]
fn are_refused() {
    refused! {
        ends_without_a_word by every_client_is_told_that_the_server_closes:
            "should have heard \"closing\"", "does not tell its clients";
        never_ends by every_client_is_told_that_the_server_closes:
            "should have heard \"closing\"", "does not tell its clients";
    }
}

fn ends_without_a_word(hosted: Hosted) {
    serve(hosted, Fault::EndsWithoutAWord);
}
fn never_ends(hosted: Hosted) {
    serve(hosted, Fault::None);
}
