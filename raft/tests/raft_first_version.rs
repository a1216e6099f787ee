//! A group founded by the first version of the format, whose log begins without a snapshot: members that join it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stepped;
mod toy;

use stepped::{Stepped, add, promote};

#[test]
fn member_that_joins_while_the_first_snapshot_is_written_is_added_once_it_is_there() {
    let mut group = Stepped::alone_on(toy::store_of_the_first_version());
    group.open_joining(2);
    let added = group.change(1, add(2));
    group.pass(50);
    assert!(
        group.answers.is_empty(),
        "from a log without a snapshot it would learn of no voters"
    );
    group.do_jobs();
    group.changed(added).unwrap();
    group.change_until_made(1, &promote(2));
    assert_eq!(group.read(2).view.len(), 1);
    group.lead(2);
    let proposed = group.propose(1, 2);
    group.proposed(proposed).unwrap();
    assert!(group.has(2, 2));
}
