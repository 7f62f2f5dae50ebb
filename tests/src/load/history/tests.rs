//! Histories with one thing wrong each.

use super::*;

const A: Id = Id { writer: 1, number: 1 };
const B: Id = Id { writer: 2, number: 1 };

fn state(id: Id, revision: Revision, counter: u32) -> State {
    State { id, revision, counter }
}

fn content(states: &[State]) -> Content {
    let mut content = Content::default();
    states.iter().for_each(|state| content.add(state));
    content
}

fn seen(changes: &[(Kind, State)]) -> Seen {
    let mut seen = Seen { begin: 10, end: 10, ..Seen::default() };
    changes.iter().for_each(|(kind, state)| seen.change(*kind, *state));
    seen
}

const CHANGES: [(Kind, State); 5] = [
    (Kind::Added, State { id: A, revision: 11, counter: 1 }),
    (Kind::Added, State { id: B, revision: 12, counter: 1 }),
    (Kind::Modified, State { id: A, revision: 14, counter: 2 }),
    (Kind::Deleted, State { id: B, revision: 15, counter: 1 }),
    (Kind::Modified, State { id: A, revision: 17, counter: 4 }),
];

/// Two watchers, one of which had to list again over the revisions 13 and 14; a lost answer made 4 of A.
fn sound() -> History {
    let mut second = seen(&CHANGES[..2]);
    second.bookmark(13);
    second.listed_again(14);
    CHANGES[3..].iter().for_each(|(kind, state)| second.change(*kind, *state));
    let there = Record { known: Known::There(CHANGES[2].1), attempts: vec![Attempt::Put(3), Attempt::Put(4)] };
    let listing = |revision, states: &[State]| Listing { revision, content: content(states) };
    History {
        puts: vec![CHANGES[0].1, CHANGES[1].1, CHANGES[2].1],
        records: HashMap::from([(A, there), (B, Record { known: Known::Gone, attempts: vec![] })]),
        watchers: vec![seen(&CHANGES), second],
        listings: vec![listing(10, &[]), listing(13, &[CHANGES[0].1, CHANGES[1].1]), listing(20, &[CHANGES[4].1])],
        gets: vec![CHANGES[1].1],
        last: vec![CHANGES[4].1],
    }
}

/// Spoils a sound history; what is found wrong must hold each of the words.
fn check(spoil: impl Fn(&mut History), lost: &[&str], disorder: &[&str]) {
    let mut history = sound();
    spoil(&mut history);
    let verdict = judge(&history);
    for (found, words) in [(&verdict.lost, lost), (&verdict.disorder, disorder)] {
        assert_eq!(found.len(), words.len(), "{verdict:#?}");
        words.iter().for_each(|word| assert!(found.iter().any(|text| text.contains(word)), "{word}: {verdict:#?}"));
    }
}

#[test]
fn a_sound_history_has_no_fault() {
    check(|_| (), &[], &[]);
}

#[test]
fn a_lost_write_is_found() {
    check(|history| history.puts.push(state(A, 16, 3)), &["revision: 16"], &[]);
    // Where nobody watched nothing can be said.
    check(|history| history.puts.push(state(A, 18, 3)), &[], &["no watcher was there at 18"]);
    check(|history| history.last.clear(), &["w-1-1 is None"], &[]);
    check(|history| history.last[0] = CHANGES[0].1, &["w-1-1 is Some"], &[]);
    check(|history| history.last.push(CHANGES[1].1), &["w-2-1 is Some"], &[]);
    check(|history| history.last.push(state(Id { writer: 3, number: 9 }, 12, 1)), &["never written"], &[]);
}

#[test]
fn what_may_have_been_lost_is_allowed() {
    check(|history| history.last[0] = CHANGES[2].1, &[], &[]);
    let gone = |history: &mut History| {
        history.records.get_mut(&A).unwrap().attempts.push(Attempt::Delete);
        history.last.clear();
    };
    check(gone, &[], &[]);
    let unborn = Id { writer: 1, number: 2 };
    let tried = Record { known: Known::Nothing, attempts: vec![Attempt::Put(1)] };
    check(|history| drop(history.records.insert(unborn, tried.clone())), &[], &[]);
}

#[test]
fn a_watcher_that_misses_an_event_is_found() {
    check(|history| _ = history.watchers[0].changes.remove(0), &[], &["watcher 0 did not see"]);
    check(|history| history.watchers[1].gaps.clear(), &[], &["watcher 1 did not see"]);
}

#[test]
fn a_watcher_that_goes_back_is_found() {
    check(|history| history.watchers[0].change(Kind::Modified, CHANGES[4].1), &[], &["back to 17 (event)"]);
    check(|history| history.watchers[0].bookmark(16), &[], &["back to 16 (bookmark)"]);
    check(|history| history.watchers[0].listed_again(16), &[], &["back to 16 (list)"]);
}

#[test]
fn watchers_that_differ_are_found() {
    let wrong = ["watchers differ", "read and never", "Deleted of w-2-1", "a list at 13"];
    check(|history| history.watchers[0].changes[1].state.counter = 7, &["counter: 1"], &wrong);
    check(|history| history.watchers[1].changes[0].kind = Kind::Modified, &[], &["watchers differ"]);
}

#[test]
fn what_was_read_and_never_was_is_found() {
    check(|history| history.gets.push(state(A, 16, 3)), &[], &["read and never written"]);
    check(|history| history.gets.push(CHANGES[3].1), &[], &["read and never written"]);
    check(|history| history.listings[1].revision = 12, &[], &[]);
    check(|history| history.listings[1].revision = 14, &[], &["a list at 14"]);
    check(|history| history.listings[2].content = Content::default(), &[], &["a list at 20"]);
}

#[test]
fn two_holders_are_found() {
    let won = |over, revision| Won { over, revision };
    assert!(chain(vec![won(9, 10), won(4, 6), won(6, 8)]).is_empty());
    assert_eq!(chain(vec![won(4, 6), won(4, 7)]).len(), 1);
    assert_eq!(chain(vec![won(4, 6), won(6, 8), won(6, 9)]).len(), 1);
}

#[test]
fn names_are_read_back() {
    assert_eq!(Id::parse(&A.to_string()), Some(A));
    assert_eq!(Id::parse("kube-root-ca.crt"), None);
}
