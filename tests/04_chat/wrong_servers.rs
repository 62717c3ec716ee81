//! Wrong servers, each with the test that must refuse it and words of its complaint.

use harness::refused;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};

use super::contract::*;

#[test]
fn are_refused() {
    refused! {
        never_announces_joining by joining_is_announced_to_the_others:
            "should have heard \"carla\"", "are not told of a new client";
        relays_to_the_sender_too by a_client_does_not_hear_its_own_line:
            "to all clients instead of all the others";
        names_nobody by a_line_reaches_every_other_client_with_its_speakers_name:
            "does not tell that ana said it";
        takes_the_packet_for_the_name by name_and_first_line_may_come_in_one_packet:
            "takes what the first read returned for the name";
        announces_leaving_twice by a_leave_is_announced_once_after_a_close:
            "should have heard \"carla\"", "at several places";
        never_announces_leaving by a_leave_is_announced_once_after_a_half_close:
            "should have heard \"beto\"", "or at none";
        announces_leaving_only_in_order by a_leave_is_announced_once_after_a_reset:
            "should have heard \"beto\"", "or at none";
        takes_a_taken_name by names_are_unique_whatever_their_case:
            "should have heard a refusal", "the same name";
        tells_ana_from_capital_ana by names_are_unique_whatever_their_case:
            "should have heard a refusal", "nor Ana and ana";
        takes_any_name by a_refused_name_may_be_tried_again:
            "should have heard a refusal", "1 to 24 characters";
        hangs_up_on_a_refused_name by a_refused_name_may_be_tried_again:
            "a refusal", "1 to 24 characters";
        keeps_the_name_taken by a_name_is_free_when_its_owner_has_left:
            "stays taken";
        speaks_to_the_nameless by a_client_without_a_name_neither_hears_nor_is_heard:
            "a client that has no name yet is not in the room";
    }
}

macro_rules! wrong {
    ($($name:ident: $fault:ident;)+) => {
        $(fn $name(hosted: Hosted) { serve(hosted, Fault::$fault) })+
    };
}
wrong! {
    never_announces_joining: NeverAnnouncesJoining;
    relays_to_the_sender_too: RelaysToTheSenderToo;
    names_nobody: NamesNobody;
    takes_the_packet_for_the_name: TakesThePacketForTheName;
    announces_leaving_twice: AnnouncesLeavingTwice;
    never_announces_leaving: NeverAnnouncesLeaving;
    announces_leaving_only_in_order: AnnouncesLeavingOnlyInOrder;
    takes_a_taken_name: TakesATakenName;
    tells_ana_from_capital_ana: TellsAnaFromANA;
    takes_any_name: TakesAnyName;
    hangs_up_on_a_refused_name: HangsUpOnARefusedName;
    keeps_the_name_taken: KeepsTheNameTaken;
    speaks_to_the_nameless: SpeaksToTheNameless;
}
