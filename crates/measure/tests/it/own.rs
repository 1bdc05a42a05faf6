//! Our own items: every answer is found again by computing it here, where it can be computed.

use std::collections::HashSet;

use measure::eval::{Item, Kind, Number, Reply, grade, own};

fn item(id: &str) -> Item {
    let found = own().into_iter().find(|item| item.id == id);
    found.unwrap_or_else(|| panic!("{id} is there"))
}

#[test]
fn the_set_is_well_formed_and_says_nothing_twice() {
    let items = own();
    assert_eq!(items.len(), 74, "as the help of `eval` says");
    let asked: HashSet<String> = items.iter().map(Item::asked).collect();
    assert_eq!(asked.len(), items.len());
    for item in &items {
        assert_eq!(item.source, "dwarfstar", "{}", item.id);
    }
    for (domain, least) in
        [("arithmetic", 12), ("logic", 12), ("reading", 12), ("code", 12), ("tools", 16)]
    {
        let count = items.iter().filter(|item| item.domain == domain).count();
        assert!(count >= least, "{domain}: {count}");
    }
    // Whoever always says the same letter gets two fifths at most.
    let letters = items.iter().filter(|item| matches!(item.kind, Kind::Choice { .. }));
    let letters: Vec<_> = letters.map(|item| item.kind.answer()).collect();
    for letter in ["A", "B", "C", "D", "E"] {
        let count = letters.iter().filter(|found| **found == letter).count();
        assert!(count * 5 <= letters.len() * 2, "{letter}: {count} of {}", letters.len());
    }
}

/// Sums done by this program, not by whoever wrote the items.
#[test]
fn numbers_are_computed_again() {
    let primes = (2..60).filter(|n| (2..*n).all(|d| n % d != 0)).count() as i128;
    let gcd = (1..=198i128).rev().find(|d| 252 % d == 0 && 198 % d == 0).unwrap();
    let digits = (99i128 * 99).to_string().bytes().map(|b| i128::from(b - b'0')).sum();
    fn f(n: i128) -> i128 {
        if n < 2 { 1 } else { f(n - 1) + 2 * f(n - 2) }
    }
    let sorted: HashSet<&str> = ["b", "a", "b", "c", "a"].into_iter().collect();
    let odd = [3, 1, 2, 5].iter().map(|x| x * x).filter(|x| x % 2 == 1).count() as i128;
    // Of ten socks each in three colours, the most that are all different.
    let socks = (1..=3).max().unwrap() + 1;
    let cases: [(&str, i128, i128); 27] = [
        ("arithmetic-01", 47 + 86, 1),
        ("arithmetic-02", 1203 - 587, 1),
        ("arithmetic-03", 24 * 17, 1),
        ("arithmetic-04", 1001, 7),
        ("arithmetic-05", 3 * 6 + 5 * 4, 4 * 6),
        ("arithmetic-06", 15 * 240, 100),
        ("arithmetic-07", (1 << 20) % 7, 1),
        ("arithmetic-08", (1..=100).filter(|n| n % 3 == 0).sum(), 1),
        ("arithmetic-09", gcd, 1),
        ("arithmetic-10", primes, 1),
        ("arithmetic-11", 6 * 1000, 125),
        ("arithmetic-12", 80 * 125 * 80, 100 * 100),
        ("arithmetic-13", 210 * 60, 2 * 60 + 20),
        ("arithmetic-14", digits, 1),
        ("arithmetic-15", -3 * 16 - 5, 1),
        ("arithmetic-16", 12 * 20, 12 + 20),
        ("logic-09", 6 * 7, 1),
        ("logic-12", socks, 1),
        ("reading-03", 2 * 90, 1),
        ("reading-08", 50 * 12, 100),
        ("reading-11", 31 - 14, 1),
        ("code-01", (0..10).filter(|x| x % 3 == 0).sum(), 1),
        ("code-03", f(6), 1),
        ("code-04", odd, 1),
        ("code-05", i128::from(250u8.wrapping_add(10)), 1),
        ("code-06", [4, 0, 7].iter().fold(0, |a, b| a * 10 + b), 1),
        ("code-09", sorted.len() as i128, 1),
    ];
    for (id, over, under) in cases {
        let Kind::Number { right, tolerance: None } = item(id).kind else { panic!("{id}") };
        assert_eq!(right, [Number::fraction(over, under).unwrap()], "{id}");
    }
    let numbers = own().iter().filter(|item| matches!(item.kind, Kind::Number { .. })).count();
    // Those of readings and of SQL are plain to see.
    assert_eq!(numbers, cases.len() + ["reading-01", "reading-07", "code-08"].len());
}

/// Puzzles by trying all worlds: exactly one conclusion holds in those that fit the story.
#[test]
fn puzzles_are_solved_by_exhaustion() {
    let right = |id: &str| item(id).kind.answer().as_str().unwrap_or_default().to_owned();
    let worlds = |bits: u32| (0..1u32 << bits).map(|n| move |bit: u32| n >> bit & 1 == 1);
    // logic-02: Arn and Bo are knights, or not.
    let fits: Vec<_> = worlds(2)
        .map(|is| (is(0), is(1)))
        .filter(|&(arn, bo)| arn != bo && bo == (arn == bo))
        .collect();
    assert_eq!((fits, right("logic-02").as_str()), (vec![(true, false)], "D"));
    // logic-03: places of Ana, Ben, Cem, Dia, Eli.
    let mut third = HashSet::new();
    for n in 0..5usize.pow(5) {
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|k| n / 5usize.pow(k) % 5);
        let all: HashSet<usize> = [a, b, c, d, e].into();
        if all.len() == 5 && a < b && c > b && a < d && d < b && e == 4 {
            third.insert([a, b, c, d, e].iter().position(|place| *place == 2).unwrap());
        }
    }
    assert_eq!((third, right("logic-03").as_str()), (HashSet::from([1]), "B"));
    // logic-06: Wednesday is the third day, Friday the fifth.
    assert_eq!(((3 + 100) % 7, right("logic-06").as_str()), (5, "D"));
    // logic-07: what the boxes APPLES, ORANGES and BOTH hold; 0, 1 and 2 in that order.
    let mut oranges = HashSet::new();
    for [x, y, z] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        if x != 0 && y != 1 && z != 2 && z != 1 {
            oranges.insert(y);
        }
    }
    assert_eq!((oranges, right("logic-07").as_str()), (HashSet::from([2]), "C"));
    // logic-08: pets of Mia, Nil and Ole; cat 0, dog 1, fish 2.
    let mut dog = HashSet::new();
    for [m, n, o] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        if m != 0 && n == 2 {
            dog.insert([m, n, o].iter().position(|pet| *pet == 1).unwrap());
        }
    }
    assert_eq!((dog, right("logic-08").as_str()), (HashSet::from([0]), "A"));
    // logic-10: three statements.
    let fits: Vec<_> = worlds(3)
        .map(|is| (is(0), is(1), is(2)))
        .filter(|&(a, b, c)| a != b && b != c && c != (a || b))
        .collect();
    assert_eq!((fits, right("logic-10").as_str()), (vec![(false, true, false)], "B"));
}

/// The lines that are asked for hold what is wrong with them.
#[test]
fn lines_hold_the_mistake() {
    let cases = [
        ("code-10", 5, "i <= count"),
        ("code-11", 11, "strcpy"),
        ("code-12", 12, "os.path.join(ROOT, name)"),
        ("code-13", 18, "head = head->next"),
        ("code-14", 13, "+ name +"),
    ];
    for (id, line, piece) in cases {
        let item = item(id);
        let Kind::Lines(places) = &item.kind else { panic!("{id}") };
        assert!(places[0].first <= line && line <= places[0].last, "{id}: {places:?}");
        let shown = item.question().lines().find(|text| {
            let number = text.split_whitespace().next().unwrap_or_default();
            number == line.to_string()
        });
        assert!(shown.is_some_and(|text| text.contains(piece)), "{id}: {shown:?}");
    }
    let lines = own().iter().filter(|item| matches!(item.kind, Kind::Lines(_))).count();
    assert_eq!(lines, cases.len());
}

/// Patterns take the answers that a person would give, and not the others.
#[test]
fn patterns_take_what_they_should() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("reading-02", &["15:05", "It arrives at 3.05 pm."], &["14:15", "at 7:30", "115:05"]),
        ("reading-05", &["Pell", "To Pell."], &["Ida", "Pell or Ida"]),
        ("reading-06", &["nuts", "Nuts."], &["bolts", "bolts and nuts"]),
        ("code-02", &["raw", "`raw`"], &["war", "rawd"]),
        ("tools-19", &["It says: the harbour opens at nine."], &["I do not know."]),
        (
            "tools-20",
            &["It does not exist.", "No such file.", "I could not read it."],
            &["It says: go."],
        ),
        ("code-02", &["\"raw\""], &["dwarfstar"]),
    ];
    for (id, good, bad) in cases {
        let item = item(id);
        let right = |text: &str| grade(&item, Reply { text, calls: &[] }).right;
        good.iter().for_each(|text| assert!(right(text), "{id}: {text}"));
        bad.iter().for_each(|text| assert!(!right(text), "{id}: {text}"));
    }
}
