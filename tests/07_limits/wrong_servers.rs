//! Wrong servers, each with the test that must refuse it and words of its complaint.

use harness::refused;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};

use super::limits::*;

#[test]
fn are_refused() {
    refused! {
        believes_everything by an_endless_line_is_refused:
            "a refusal", "reads for ever";
        believes_everything by a_flood_is_stopped:
            "a refusal", "fills the room with its own lines";
        believes_everything by an_endless_name_is_refused:
            "a refusal", "hold from the first byte";
        believes_everything by a_flood_of_names_is_stopped:
            "refused names were answered";
        believes_everything by bytes_that_are_not_text_are_replaced:
            "should have heard \"before\"", "need not be an error";
        believes_everything by no_control_character_reaches_another_terminal:
            "Beto's terminal has got", "a terminal obeys control characters";
    }
}

/// A right chat, except that it has no limits.
fn believes_everything(hosted: Hosted) {
    serve(hosted, Fault::None);
}
