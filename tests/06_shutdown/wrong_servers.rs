//! Wrong servers, each with the test that must refuse it and words of its complaint.

use harness::refused;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};

use super::shutdown::*;

#[test]
fn are_refused() {
    refused! {
        ends_without_a_word by everybody_is_told:
            "should have heard \"closing\"", "nobody is told";
        never_ends by everybody_is_told:
            "should have heard \"closing\"", "nobody is told";
    }
}

fn ends_without_a_word(hosted: Hosted) {
    serve(hosted, Fault::EndsWithoutAWord);
}
fn never_ends(hosted: Hosted) {
    serve(hosted, Fault::None);
}
