//! States that are kept, shared, forked and taken back: the logits are those of a session that was
//! fed from the start, to the bit (see `steps.rs` for why), and no page is lost or shared wrongly.

use backend::{Backend, RowFormat};
use model::{Cache, Error, Feed, KvLayout, Limits, Options};
use spec::{Shape, TokenId};

use crate::support::{LIMITS, Rig, fast, prompts, tiny};

fn reference() -> Rig {
    Rig::new(&tiny(), RowFormat::Packed)
}

impl<B: Backend> Rig<B> {
    fn open(&mut self) -> Cache {
        self.model.open(&mut self.cpu).expect("a session")
    }

    /// Feeds tokens in one step; logits of all of them.
    fn step(&mut self, cache: &mut Cache, tokens: &[TokenId]) -> Vec<f32> {
        let feed = Feed { cache, tokens, outputs: tokens.len() };
        self.model.forward(&mut self.cpu, &mut [feed]).expect("a step");
        self.model.logits(&mut self.cpu)
    }
}

/// Where windows of either ratio are open, closed, and not begun; and a few of them for the
/// reference, which takes its time.
const PLACES: [usize; 9] = [1, 3, 4, 127, 128, 130, 255, 256, 301];
const FEW: [usize; 2] = [3, 130];

/// The state is kept, its owner goes on, another session goes on from it with other tokens.
#[test]
fn kept_states_are_those_of_their_time() {
    kept(reference(), &FEW);
    kept(fast(&tiny(), RowFormat::Packed), &PLACES);
}

fn kept<B: Backend>(mut rig: Rig<B>, places: &[usize]) {
    let prompts = prompts();
    let (ours, theirs) = (&prompts["p700"][..420], &prompts["p300"][..140]);
    for &place in places {
        let mut owner = rig.open();
        rig.step(&mut owner, &ours[..place]);
        let snapshot = rig.model.snapshot(&mut rig.cpu, &owner);
        let pages = owner.pages().to_vec();
        let on = rig.step(&mut owner, &ours[place..]);

        let branch = [&ours[..place], theirs].concat();
        let mut other = rig.open();
        rig.model.restore(&mut rig.cpu, &mut other, &snapshot, pages).expect("a page");
        let got = rig.step(&mut other, theirs);
        let (want, whole) = (rig.feed(&branch, 1024), rig.feed(ours, 1024));
        assert!(got == rig.tail(&want, theirs.len()), "another session from {place}");
        assert!(on == rig.tail(&whole, 420 - place), "the owner from {place}");
        // The owner's rows have survived the other's, and the other's the owner's.
        for (cache, tokens) in [(&mut owner, ours), (&mut other, &branch)] {
            let more = [tokens, &theirs[..20]].concat();
            let (got, want) = (rig.step(cache, &theirs[..20]), rig.feed(&more, 1024));
            assert!(got == rig.tail(&want, 20), "later, from {place}");
        }
    }
}

/// A fork shares every full page, and nobody notices the other.
#[test]
fn forks_share_full_pages() {
    forked(reference(), &FEW);
    forked(fast(&tiny(), RowFormat::Packed), &PLACES);
}

fn forked<B: Backend>(mut rig: Rig<B>, places: &[usize]) {
    let prompts = prompts();
    let (ours, theirs) = (&prompts["p700"], &prompts["p300"][..200]);
    for &place in places {
        let mut parent = rig.open();
        rig.step(&mut parent, &ours[..place]);
        let before = rig.model.row_pages_left();
        let mut forks = [rig.open(), rig.open()];
        for fork in &mut forks {
            rig.model.fork(&mut rig.cpu, &parent, fork).expect("a page");
            let shared = parent.pages().iter().zip(fork.pages()).filter(|(a, b)| a.is(b)).count();
            assert_eq!(shared, place / 128, "full pages shared at {place}");
        }
        let copied = if place % 128 == 0 { 0 } else { 2 };
        assert_eq!(before - rig.model.row_pages_left(), copied, "pages taken at {place}");
        let [a, b] = &mut forks;
        let got = [rig.step(a, theirs), rig.step(b, &theirs[50..]), rig.step(&mut parent, ours)];
        for (got, tail) in got.iter().zip([theirs, &theirs[50..], &ours[..]]) {
            let want = rig.feed(&[&ours[..place], tail].concat(), 1024);
            assert!(got == rig.tail(&want, tail.len()), "forked at {place}");
        }
    }
}

/// Drafted tokens, of which any number is refused: as if only the others had been fed.
#[test]
fn drafts_are_taken_back() {
    taken_back(reference());
    taken_back(fast(&tiny(), RowFormat::Packed));
}

fn taken_back<B: Backend>(mut rig: Rig<B>) {
    let prompts = prompts();
    let (tokens, wrong) = (&prompts["p700"][..330], &prompts["p300"]);
    let want = rig.feed(tokens, 1024);
    let vocab = rig.model.shape().vocab;
    let drafts_max = rig.model.layout().drafts_max();
    assert_eq!(drafts_max, 7, "the ratio-4 frontier has eight places");
    let mut cache = rig.open();
    rig.step(&mut cache, &tokens[..118]);
    // Over the ends of windows of 4 and 128 and of pages, each number of refusals in turn.
    for turn in 0.. {
        let start = cache.tokens();
        let refused = turn % (drafts_max + 1);
        let right = (drafts_max + 1 - refused).min(tokens.len() - start);
        if right == 0 {
            break;
        }
        rig.model.save_before_draft(&mut rig.cpu, &mut cache).expect("a slot page");
        let step = [&tokens[start..start + right], &wrong[turn..turn + refused]].concat();
        let got = rig.step(&mut cache, &step);
        rig.model.take_back(&mut rig.cpu, &mut cache, start + right);
        let range = start * vocab..(start + right) * vocab;
        assert!(got[..right * vocab] == want[range], "{refused} refused after {start}");
        assert_eq!(cache.tokens(), start + right);
    }
}

/// Pages that nobody holds are used again, shared ones are not, and the limit is an error that says
/// how much there is.
#[test]
fn pages_are_counted() {
    let limits = Limits { slots: 2, row_pages: 4, ..LIMITS };
    let mut rig =
        Rig::with(&tiny(), Options { rows: RowFormat::Packed, limits, importance: false });
    let tokens = &prompts()["p700"];
    let mut cache = rig.open();
    rig.step(&mut cache, &tokens[..300]);
    assert_eq!((rig.model.row_pages_left(), cache.pages().len()), (1, 3));
    let held = cache.pages()[0].clone();
    cache.clear();
    assert_eq!(rig.model.row_pages_left(), 3, "the page that is held elsewhere is not free");
    assert!(held.is_unshared());
    drop(held);
    assert_eq!(rig.model.row_pages_left(), 4);

    rig.step(&mut cache, &tokens[..512]);
    let feed = Feed { cache: &mut cache, tokens: &tokens[512..513], outputs: 1 };
    let error = rig.model.forward(&mut rig.cpu, &mut [feed]).expect_err("no fifth page");
    let bytes = 4 * rig.model.layout().page_bytes;
    assert!(matches!(error, Error::Pages { position: 512, limit: 4, bytes: b } if b == bytes));
    assert!(error.to_string().contains("all 4 pages of 128 tokens"), "{error}");
    assert_eq!(cache.tokens(), 512, "nothing has changed");

    let other = rig.open();
    let error = rig.model.open(&mut rig.cpu).expect_err("no third session");
    assert_eq!(error.to_string(), "all 2 sessions are in use");
    drop(other);
    drop(cache);
    assert_eq!(rig.model.row_pages_left(), 4, "dropped caches give everything back");
    let _cache = rig.open();
}

/// Bytes go out and come back into another model: the same state. Bytes of another size do not.
#[test]
fn states_travel_as_bytes() {
    travelled(reference(), reference(), &FEW);
    let fast = || fast(&tiny(), RowFormat::Packed);
    travelled(fast(), fast(), &PLACES);
}

fn travelled<B: Backend>(mut here: Rig<B>, mut there: Rig<B>, places: &[usize]) {
    let tokens = &prompts()["p700"];
    for &place in places {
        let mut cache = here.open();
        here.step(&mut cache, &tokens[..place]);
        let snapshot = here.model.snapshot(&mut here.cpu, &cache);
        let page = |page| here.model.page_bytes(&mut here.cpu, page);
        let pages: Vec<Vec<u8>> = cache.pages().iter().map(page).collect();

        let mut arrived = there.open();
        let load = |(i, bytes): (usize, &Vec<u8>)| {
            there.model.load_page(&mut there.cpu, i * 128, bytes).expect("a page")
        };
        let pages = pages.iter().enumerate().map(load).collect();
        let restored = there.model.restore(&mut there.cpu, &mut arrived, &snapshot, pages);
        restored.expect("a state");
        let [got, want] =
            [there.step(&mut arrived, &tokens[place..]), here.step(&mut cache, &tokens[place..])];
        assert!(got == want, "from {place}");
    }
    let error = there.model.load_page(&mut there.cpu, 128, &[0; 16]).expect_err("too short");
    assert!(error.to_string().contains("from position 128 on has"), "{error}");
    let cache = here.open();
    let mut snapshot = here.model.snapshot(&mut here.cpu, &cache);
    snapshot.bytes.push(0);
    let mut cache = cache;
    let restored = here.model.restore(&mut here.cpu, &mut cache, &snapshot, Vec::new());
    assert!(matches!(restored, Err(Error::Snapshot { tokens: 0, .. })));
}

/// What keeping a state of Flash costs: little where no window of 128 tokens is open.
#[test]
fn snapshots_are_small_at_multiples_of_128() {
    let layout = KvLayout::new(&Shape::flash(), RowFormat::Packed);
    // 43 windows of 128 packed rows, padded; 21 layers with one window of 4 tokens, v and z of
    // 1024 and of 256 values.
    let windows = 43 * 128 * 583;
    let behind = 21 * 4 * 2 * (1024 + 256) * 4;
    assert_eq!(layout.snapshot_bytes(128), windows + behind);
    assert_eq!(layout.snapshot_bytes(1 << 20), windows + behind);
    // 127 tokens of 20 layers, 512 values, v and z; three more tokens of the open window of 4.
    let open = 20 * 127 * 2 * 512 * 4 + 21 * 3 * 2 * (1024 + 256) * 4;
    assert_eq!(layout.snapshot_bytes(255), windows + behind + open);
    assert!(layout.snapshot_bytes(255) < layout.slot_bytes);
}
