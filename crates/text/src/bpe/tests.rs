//! Holds both ways of merging against the definition, with merges drawn at random: real
//! vocabularies never have the odd orders of rank that must work too.

use proptest::prelude::*;

use super::*;

/// The bytes are the ids; merge results get ids from 256.
fn merges_of(pairs: &[(u32, u32)]) -> Merges {
    let mut table = FxHashMap::default();
    for (rank, &pair) in pairs.iter().enumerate() {
        let merge = Merge { rank: rank as u32, id: 256 + rank as u32 };
        table.entry(pair).or_insert(merge);
    }
    Merges::new(std::array::from_fn(|byte| byte as u32), table)
}

/// The definition: join the leftmost of the pairs with the lowest rank until none is left.
fn by_definition(merges: &Merges, piece: &[u8]) -> Vec<u32> {
    let mut ids = piece.iter().map(|&byte| merges.bytes[usize::from(byte)]).collect::<Vec<_>>();
    loop {
        let mut best: Option<(u32, usize, u32)> = None;
        for place in 1..ids.len() {
            if let Some(merge) = merges.pairs.get(&(ids[place - 1], ids[place]))
                && best.is_none_or(|(rank, ..)| merge.rank < rank)
            {
                best = Some((merge.rank, place - 1, merge.id));
            }
        }
        let Some((_, place, id)) = best else { return ids };
        ids.splice(place..place + 2, [id]);
    }
}

fn encode(merges: &Merges, piece: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    merges.encode(piece, &mut Scratch::default(), &mut ids);
    ids.iter().map(|id| id.0).collect()
}

/// Pairs of two bytes or of earlier results, in shuffled order: results may rank below parts.
fn any_merges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    let symbol = prop_oneof![0u32..3, 256u32..276];
    proptest::collection::vec((symbol.clone(), symbol), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn both_ways_follow_the_definition(
        pairs in any_merges(),
        piece in proptest::collection::vec(0u8..3, 1..SEARCHED_BYTES_MAX * 2),
    ) {
        let merges = merges_of(&pairs);
        let expected = by_definition(&merges, &piece);
        prop_assert_eq!(&encode(&merges, &piece), &expected);

        let mut scratch = Scratch::default();
        merges.start(&piece, &mut scratch.symbols);
        merges.merge_by_queue(&mut scratch);
        let queued = scratch.symbols.iter().map(|symbol| symbol.id).collect::<Vec<_>>();
        prop_assert_eq!(&queued, &expected);
    }
}

#[test]
fn of_equal_ranks_the_leftmost_goes_first() {
    let merges = merges_of(&[(0, 0), (256, 256)]);
    assert_eq!(encode(&merges, &[0; 3]), [256, 0]);
    assert_eq!(encode(&merges, &[0; 7]), [257, 256, 0]);
    assert_eq!(encode(&merges, &[0; 303])[74..], [257, 256, 0]);
}

#[test]
fn memory_is_used_again_without_traces() {
    let merges = merges_of(&[(0, 1), (1, 0)]);
    let (mut scratch, mut ids) = (Scratch::default(), Vec::new());
    for piece in [&[0, 1].repeat(100)[..], &[1, 0], &[2; 100], &[0]] {
        ids.clear();
        merges.encode(piece, &mut scratch, &mut ids);
        let ids = ids.iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids, by_definition(&merges, piece));
    }
}
