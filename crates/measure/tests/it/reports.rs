//! Reports on disk: whatever cut them, they are read up to there, and gone on with.

use std::fs;
use std::path::PathBuf;

use measure::eval::{
    Answer, Budget, Domain, Finish, Header, Item, ModelName, Report, SetName, Settings, Summary,
    Thinking, Writer, compare, own, wilson,
};

fn settings() -> Settings {
    Settings {
        thinking: Thinking::Off,
        budget: Budget::new(100),
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.05,
        seed: 0,
        repeat: 1,
        steered: None,
    }
}

fn header(items: &[Item], fingerprint: &str, settings: Settings) -> Header {
    let model = ModelName { name: "m.gguf".to_owned(), fingerprint: fingerprint.to_owned() };
    Header::new(model, "cpu".to_owned(), SetName::of("own", items), settings)
}

/// An answer that says `text`, judged.
fn answer(item: &Item, sample: usize, text: &str) -> Answer {
    let mut answer = Answer {
        id: item.id.clone(),
        sample,
        asked: item.asked(),
        right: false,
        found: None,
        finish: Finish::Stop,
        closed: None,
        prompt_tokens: 10,
        tokens: 5,
        reasoning_tokens: 0,
        seconds: 0.25,
        reasoning: String::new(),
        text: text.to_owned(),
        calls: Vec::new(),
    };
    answer.judge(item);
    answer
}

/// Three sums: 133, 616, 408.
fn sums() -> Vec<Item> {
    own().into_iter().take(3).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn text<T>(result: Result<T, measure::Error>) -> String {
    result.map(|_| ()).expect_err("it is refused").to_string()
}

/// The last line is cut after every one of its bytes.
#[test]
fn a_cut_line_is_dropped_and_asked_again() {
    let (items, place) = (sums(), Place::new());
    let head = header(&items, "f", settings());
    let whole = place.file("whole.jsonl");
    let mut writer = Writer::create(&whole, &head).unwrap();
    let answers: Vec<Answer> =
        items.iter().map(|item| answer(item, 0, "Answer: \u{1f600} 133")).collect();
    answers.iter().for_each(|answer| writer.add(answer).unwrap());
    drop(writer);
    let report = Report::read(&whole).unwrap();
    assert_eq!((&report.header, &report.answers, report.dropped), (&head, &answers, 0));

    let bytes = fs::read(&whole).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for length in last..bytes.len() {
        let cut = place.file("cut.jsonl");
        fs::write(&cut, &bytes[..length]).unwrap();
        let read = Report::read(&cut).unwrap();
        assert_eq!((read.answers.len(), read.dropped), (2, (length - last) as u64), "{length}");
        let (mut writer, kept, dropped) = Writer::resume(&cut, &head).unwrap();
        assert_eq!((kept.len(), dropped), (2, (length - last) as u64));
        writer.add(&answers[2]).unwrap();
        drop(writer);
        assert_eq!(fs::read(&cut).unwrap(), bytes, "{length}");
    }
    // A head that was cut is written again; no file at all is begun.
    let head_length = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    for length in [0, 1, head_length] {
        let cut = place.file("head.jsonl");
        fs::write(&cut, &bytes[..length]).unwrap();
        drop(Writer::resume(&cut, &head).unwrap());
        assert_eq!(fs::read(&cut).unwrap(), bytes[..=head_length]);
    }
    drop(Writer::resume(&place.file("new.jsonl"), &head).unwrap());
    assert_eq!(Report::read(&place.file("new.jsonl")).unwrap().answers, []);
}

#[test]
fn a_report_of_something_else_is_not_gone_on_with() {
    let (items, place) = (sums(), Place::new());
    let head = header(&items, "f", settings());
    let path = place.file("r.jsonl");
    let writer = Writer::create(&path, &head).unwrap();
    assert!(text(Writer::resume(&path, &head)).contains("another program is adding"));
    drop(writer);
    assert!(text(Writer::create(&path, &head)).contains("go on with it with --resume"));
    let fewer = header(&items[..2], "f", settings());
    let other = header(&items, "g", settings());
    let budget = Budget::new(200);
    let longer = header(&items, "f", Settings { budget, ..settings() });
    for (head, piece) in [(fewer, "its items"), (other, "its model"), (longer, "its settings")] {
        assert!(text(Writer::resume(&path, &head)).contains(piece), "{piece}");
    }
    // Where the model's file lies does not matter, what is in it does.
    let mut moved = head.clone();
    moved.model.name = "elsewhere/m.gguf".to_owned();
    moved.device = "another".to_owned();
    assert!(Writer::resume(&path, &moved).is_ok());
}

#[test]
fn what_is_no_report_is_named() {
    let (items, place) = (sums(), Place::new());
    let head = serde_json::to_string(&header(&items, "f", settings())).unwrap();
    let line = serde_json::to_string(&answer(&items[0], 0, "133")).unwrap();
    let cases = [
        (String::new(), "there is nothing in it"),
        ("{}\n".to_owned(), "not the first line of a report"),
        ("no\n".to_owned(), "not the first line of a report"),
        (head.replace("\"dwarfstar_eval\":1", "\"dwarfstar_eval\":9") + "\n", "format 9"),
        (head.replace("\"seed\":0", "\"sead\":0") + "\n", "unknown field `sead`"),
        (format!("{head}\n{line}\n{line}\n"), "line 3"),
        (format!("{head}\n{line}\n{line}\n"), "a second answer 0 to arithmetic-01"),
        (format!("{head}\n{{\"id\":3}}\n{line}\n"), "line 2"),
        (format!("{head}\nx\n"), "not an answer"),
    ];
    for (bytes, piece) in cases {
        let path = place.file("r.jsonl");
        fs::write(&path, &bytes).unwrap();
        let error = text(Report::read(&path));
        assert!(error.contains(piece), "{error}: expected {piece:?}");
    }
}

#[test]
fn answers_are_judged_again_by_the_set() {
    let mut items = sums();
    let answers = vec![answer(&items[0], 0, "It is 133."), answer(&items[1], 0, "Answer: 617")];
    let mut report = Report { header: header(&items, "f", settings()), answers, dropped: 0 };
    assert_eq!(report.judge(&items).unwrap(), 0);
    assert_eq!(report.answers.iter().map(|a| a.right).collect::<Vec<_>>(), [true, false]);
    // The key was wrong: the second is right after all.
    items[1] = Item { kind: own()[0].kind.clone(), ..items[1].clone() };
    report.answers[1].text = "Answer: 133".to_owned();
    assert_eq!(report.judge(&items).unwrap(), 1);
    assert!(report.answers[1].right);
    // Other questions are not.
    let missing = report.judge(&items[..1]).unwrap_err().to_string();
    assert!(missing.contains("arithmetic-02, which the set does not have"), "{missing}");
    items[0].turns = items[1].turns.clone();
    let other = report.judge(&items).unwrap_err().to_string();
    assert!(other.contains("item arithmetic-01 asks something else"), "{other}");
}

/// Two right of three, asked twice: 1/1, 1/2, 0/1.
#[test]
fn an_item_counts_once_however_often_it_is_asked() {
    let mut items = sums();
    items[0].points = 3;
    let answers = [
        answer(&items[0], 0, "133"),
        answer(&items[0], 1, "Answer: 133"),
        answer(&items[1], 0, "616"),
        answer(&items[1], 1, "?"),
        answer(&items[2], 0, "409"),
    ];
    let summary = Summary::new(&items, &answers, 2);
    let all = &summary.all;
    assert!(!summary.is_complete());
    assert_eq!((all.items, all.answers, all.right, all.unanswered), (3, 5, 3, 1));
    assert_eq!((all.items_right_once, all.items_right_always), (2, 1));
    assert_eq!(all.accuracy, Some(0.5));
    assert_eq!(all.interval, Some(wilson(0.5, 3)));
    assert_eq!((all.points, all.points_max), (3.5, 5));
    assert_eq!((all.tokens, all.seconds), (25, 1.25));
    let domain = Domain { domain: "arithmetic".to_owned(), tally: all.clone() };
    assert_eq!(summary.domains, [domain]);
}

#[test]
fn reports_are_compared_item_by_item() {
    let items = own();
    let report = |texts: &[&str]| {
        let answers = items.iter().zip(texts).map(|(item, text)| answer(item, 0, text)).collect();
        Report { header: header(&items, "f", settings()), answers, dropped: 0 }
    };
    let first = report(&["133", "0", "0", "143"]);
    let second = report(&["133", "616", "408", "0", "19/12"]);
    let compared = compare(&first, &second).unwrap();
    assert_eq!((compared.items, compared.only), (4, [0, 1]));
    assert_eq!((compared.accuracy, compared.difference), (Some([0.5, 0.75]), Some(0.25)));
    let ids = |changes: &[measure::eval::Change]| {
        changes.iter().map(|change| change.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&compared.gained), ["arithmetic-02", "arithmetic-03"]);
    assert_eq!(ids(&compared.lost), ["arithmetic-04"]);
    assert_eq!(compared.gained[0].found, [Some("0".to_owned()), Some("616".to_owned())]);
    // Three coins, one of them the other way: nothing unusual.
    assert_eq!(compared.p, 1.0);
    let mut other = second.clone();
    other.answers[0].asked = "0".to_owned();
    assert!(text(compare(&first, &other)).contains("arithmetic-01 asks something else"));
    let none = compare(&report(&[]), &first).unwrap();
    assert_eq!((none.items, none.only, none.accuracy, none.p), (0, [0, 4], None, 1.0));
}
