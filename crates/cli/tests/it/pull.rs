//! `dwarfstar pull` against a hub on this machine: what people see, what dying costs, and what the
//! other commands do with what was fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::signals::signal;
use crate::site::{Act, Offer, REPOSITORY, Site, bytes, ranges};
use crate::support::{Ended, command, ended_as, on_a_full_disk, text, tiny};

/// A person with a home of their own, and a hub.
struct Person {
    home: tempfile::TempDir,
    site: Site,
}

impl Person {
    fn new(offers: Vec<Offer>) -> Person {
        Person { home: tempfile::tempdir().unwrap(), site: Site::new(offers) }
    }

    fn at_home(&self, mut command: Command) -> Command {
        for name in [
            "HF_TOKEN",
            "HF_HOME",
            "HF_ENDPOINT",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "XDG_CONFIG_HOME",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).env("XDG_DATA_HOME", self.data());
        command
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn model(&self, name: &str) -> PathBuf {
        self.data().join("dwarfstar/models").join(name)
    }

    /// The arguments of a pull from this hub.
    fn arguments<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let of_hub = ["--repo", REPOSITORY, "--endpoint", &self.site.address];
        [&["pull"], args, &of_hub[..]].concat()
    }

    fn pull_command(&self, args: &[&str]) -> Command {
        self.at_home(command(&self.arguments(args)))
    }

    fn pull(&self, args: &[&str]) -> Ended {
        ended_as(self.pull_command(args).output().unwrap())
    }

    fn runs(&self, args: &[&str]) -> Ended {
        ended_as(self.at_home(command(args)).output().unwrap())
    }

    /// A pull that ends with code 1 and one line that has all pieces.
    fn fails(&self, args: &[&str], pieces: &[&str]) {
        let Ended { code, stderr, .. } = self.pull(args);
        assert_eq!(code, 1, "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for piece in pieces {
            assert!(stderr.contains(piece), "{args:?}: expected {piece:?} in {stderr}");
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_that_was_pulled_is_what_every_command_uses() {
    let content = fs::read(tiny()).unwrap();
    let person = Person::new(vec![Offer::new("m.gguf", content.clone())]);
    let nano = person.runs(&["inspect", "--json"]);
    assert_eq!(
        (nano.json()["file"].as_str(), nano.stderr.as_str()),
        (Some("nano.gguf (built in)"), "")
    );
    let ended = person.pull(&["m.gguf"]);
    let file = person.model("m.gguf");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let size = content.len() as u64;
    assert!(ended.text().contains("SHA-256 verified\nit is what every command uses now"));
    assert!(fs::read(&file).unwrap() == content);
    assert_eq!(names(&person.data().join("dwarfstar")), ["model.gguf", "models"]);
    assert_eq!(names(&person.data().join("dwarfstar/models")), ["m.gguf"]);

    let shown = person.runs(&["inspect", "--json"]);
    assert_eq!(shown.json()["file"], text(&file).as_str());
    assert!(shown.stderr.starts_with("no model is named, so it is the default, "));
    assert!(shown.stderr.contains(&text(&file)) && shown.stderr.lines().count() == 1);
    let run = ["run", "--raw-prompt", "-p", "x", "-n", "2", "--seed", "1"];
    let ran = person.runs(&run);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("so it is the default") && !ran.stderr.contains("Nano"));
    let quiet = person.runs(&[&run[..], &["-q"]].concat());
    assert!(!quiet.stderr.contains("default"), "{}", quiet.stderr);
    assert_eq!(quiet.stdout, ran.stdout);

    let nano = person.runs(&["inspect", "nano", "--json"]);
    assert_eq!(
        (nano.json()["file"].as_str(), nano.stderr.as_str()),
        (Some("nano.gguf (built in)"), "")
    );
    let again = person.pull(&["m.gguf", "--json"]);
    let json = again.json();
    assert_eq!((&json["bytes"], &json["fetched_bytes"]), (&size.into(), &0.into()));
    assert_eq!((&json["default"], &json["file"]), (&true.into(), &text(&file).as_str().into()));

    fs::remove_file(&file).unwrap();
    let gone = person.runs(&["inspect"]);
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains("the default model is gone; fetch it again"), "{}", gone.stderr);
}

#[test]
fn what_is_no_model_or_not_wanted_is_not_the_default() {
    let model = fs::read(tiny()).unwrap();
    let offers = vec![Offer::new("m.gguf", model), Offer::new("sub/drafter.gguf", bytes(999))];
    let person = Person::new(offers);
    let ended = person.pull(&["sub/drafter.gguf", "--json"]);
    assert_eq!((&ended.json()["default"], &ended.json()["bytes"]), (&false.into(), &999.into()));
    assert!(person.model("drafter.gguf").is_file());
    let folder = person.home.path().join("elsewhere/deep");
    let ended = person.pull(&["m.gguf", "--no-default", "--dir", &text(&folder)]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.text().contains("every command"));
    assert_eq!(names(&folder), ["m.gguf"]);
    assert!(!person.data().join("dwarfstar/model.gguf").exists());
}

#[test]
fn lists_have_names_and_sizes() {
    let offers = vec![
        Offer { size: 86_720_111_488, ..Offer::new("b.gguf", Vec::new()) },
        Offer { sha256: None, ..Offer::new("README.md", bytes(7)) },
        Offer::new("sub/c.gguf", bytes(1000)),
    ];
    let person = Person::new(offers);
    let ended = person.pull(&["--list"]);
    let expected = "                  7 B  README.md\n              86.7 GB  b.gguf\n              \
                    1.00 kB  sub/c.gguf\n";
    assert_eq!(ended.text(), expected);
    let json = person.pull(&["--list", "--json"]).json();
    assert_eq!(json["repository"], REPOSITORY);
    assert_eq!(json["files"][1]["bytes"], 86_720_111_488_u64);
    assert!(json["files"][0]["sha256"].is_null() && json["files"][2]["sha256"].is_string());
}

/// The journal's ranges, as the tests read them: from its text.
fn noted(part: &Path) -> Vec<(u64, u64)> {
    let journal = fs::read_to_string(part.with_added_extension("journal")).unwrap_or_default();
    let whole = journal.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter_map(|line| {
        let (start, end) = line.strip_prefix("have ")?.split_once(' ')?;
        Some((start.parse().unwrap(), end.parse().unwrap()))
    });
    lines.collect()
}

const LARGE: usize = 24 << 20;

/// Begins to fetch a large file over slow connections; returns when some of it is noted.
fn begun(person: &Person) -> (std::process::Child, PathBuf) {
    person.site.rule(|asked| match asked.of_hub {
        true => Act::Behave,
        false => Act::Slow(32 << 10, Duration::from_millis(60)),
    });
    let mut command = person.pull_command(&["large.gguf"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = person.model("large.gguf").with_added_extension("pulling");
    let start = Instant::now();
    while noted(&part).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing was noted");
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, part)
}

/// Goes on; what was noted before is not asked for again, and everything else is.
fn goes_on(person: &Person, part: &Path, content: &[u8]) {
    let noted = noted(part);
    let there: u64 = noted.iter().map(|(start, end)| end - start).sum();
    assert!(there > 0 && there < LARGE as u64, "{there}");
    person.site.rule(|_| Act::Behave);
    person.site.asked();
    let ended = person.pull(&["large.gguf", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["fetched_bytes"], LARGE as u64 - there);
    let asked = ranges(&person.site.asked());
    for (first, last) in &asked {
        let overlaps = |(start, end): &(u64, u64)| first < end && start <= last;
        assert!(!noted.iter().any(overlaps), "{first}-{last} of {noted:?}");
    }
    let total: u64 = asked.iter().map(|(first, last)| last - first + 1).sum();
    assert_eq!(total, LARGE as u64 - there);
    assert!(fs::read(person.model("large.gguf")).unwrap() == content);
    assert_eq!(names(&person.data().join("dwarfstar/models")), ["large.gguf"]);
}

#[test]
fn a_pull_that_was_killed_goes_on_with_what_is_missing() {
    let content = bytes(LARGE);
    let person = Person::new(vec![Offer::new("large.gguf", content.clone())]);
    let (mut child, part) = begun(&person);
    signal(&child, "KILL");
    child.wait().unwrap();
    assert!(!person.model("large.gguf").exists());
    goes_on(&person, &part, &content);
}

#[test]
fn ctrl_c_keeps_what_is_there_and_says_how_to_go_on() {
    let content = bytes(LARGE);
    let person = Person::new(vec![Offer::new("large.gguf", content.clone())]);
    let (child, part) = begun(&person);
    // Meanwhile nobody else can write to the same file.
    person.fails(&["large.gguf"], &["is being fetched by another process; wait for that one"]);
    signal(&child, "INT");
    let start = Instant::now();
    let ended = ended_as(child.wait_with_output().unwrap());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("interrupted: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("the same command goes on from there"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
    goes_on(&person, &part, &content);
}

#[test]
fn every_refusal_has_a_next_thing_to_do() {
    let person = Person::new(vec![Offer::new("m.gguf", bytes(5000))]);
    person.fails(&["n.gguf"], &["n.gguf: no such file in some-one/models", "--list", "m.gguf"]);
    for (status, token, pieces) in [
        (401, None, ["(401); its name is wrong, or it is not open", "into HF_TOKEN"]),
        (401, Some("hf_x"), ["(401); check --repo, or put a new token", "/settings/tokens"]),
        (403, None, ["(403); ask for access at http", "into HF_TOKEN"]),
        (403, Some("hf_x"), ["(403); open http", "some-one/models in a browser"]),
        (404, None, ["(404)", "check --repo and --endpoint"]),
        (418, None, ["status 418", "name a mirror with --endpoint"]),
    ] {
        person.site.rule(move |_| Act::Status(status, String::new()));
        let mut command = person.pull_command(&["m.gguf"]);
        command.envs(token.map(|token| ("HF_TOKEN", token)));
        let Ended { code, stderr, .. } = ended_as(command.output().unwrap());
        assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
        assert!(pieces.iter().all(|piece| stderr.contains(piece)), "{status}: {stderr}");
        assert!(!stderr.contains("hf_x"), "{stderr}");
    }
    for (act, pieces) in [
        (Act::Corrupt, ["its SHA-256 is ", "all of it was removed; run the same command again"]),
        (Act::Range("bytes 7-9/5000".to_owned()), ["asked for bytes 0 to 4999", "--endpoint"]),
        (Act::Status(404, String::new()), ["not there (404)", "pull --list"]),
        (
            Act::Status(503, "Retry-After: 7200\r\n".to_owned()),
            ["asks to wait for 120 minutes", "what has come is kept: the same command"],
        ),
    ] {
        person.site.rule(move |asked| if asked.of_hub { Act::Behave } else { act.clone() });
        person.fails(&["m.gguf"], &pieces);
        assert!(!person.model("m.gguf").exists());
    }
}

#[test]
fn a_file_in_the_way_is_kept_unless_it_is_given_up() {
    let content = bytes(5000);
    let person = Person::new(vec![Offer::new("m.gguf", content.clone())]);
    let file = person.model("m.gguf");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for mine in [&b"short"[..], &bytes(5001)[1..]] {
        fs::write(&file, mine).unwrap();
        person.fails(&["m.gguf"], &["is not the published file; add --force"]);
        assert!(fs::read(&file).unwrap() == mine);
    }
    assert_eq!(person.pull(&["m.gguf", "--force"]).code, 0);
    assert!(fs::read(&file).unwrap() == content);
    person.site.asked();
    let ended = person.pull(&["m.gguf"]);
    assert!(ended.text().contains("was there already, SHA-256 verified"), "{}", ended.text());
    assert_eq!(ranges(&person.site.asked()), []);
}

#[test]
fn a_full_disk_is_told_with_what_to_do() {
    let person = Person::new(vec![Offer::new("m.gguf", bytes(50_000))]);
    let mut command = person.at_home(on_a_full_disk(&person.arguments(&["m.gguf"])));
    let Ended { code, stderr, .. } = ended_as(command.output().unwrap());
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("m.gguf.pulling: could not make room in it"), "{stderr}");
    assert!(stderr.contains("see that the disk has room"), "{stderr}");
    let huge = Offer { size: 1 << 49, ..Offer::new("huge.gguf", Vec::new()) };
    person.site.offer(vec![huge]);
    person.fails(&["huge.gguf"], &["562.9 TB are missing, its disk has room for", "--dir"]);
    assert!(!names(&person.data().join("dwarfstar/models")).iter().any(|n| n.contains("huge")));
}

#[test]
fn tokens_come_from_the_variable_or_the_usual_file_and_go_to_the_hub_only() {
    let person = Person::new(vec![Offer::new("m.gguf", bytes(5000))]);
    let saved = person.home.path().join(".cache/huggingface");
    fs::create_dir_all(&saved).unwrap();
    fs::write(saved.join("token"), "hf_saved\n").unwrap();
    let other = person.home.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("token"), "hf_other").unwrap();
    for (variables, expected) in [
        (vec![], "Bearer hf_saved"),
        (vec![("HF_HOME", text(&other))], "Bearer hf_other"),
        (vec![("HF_HOME", text(&other)), ("HF_TOKEN", "hf_set".to_owned())], "Bearer hf_set"),
    ] {
        person.site.asked();
        let mut command = person.pull_command(&["m.gguf", "--force"]);
        command.envs(variables);
        let ended = ended_as(command.output().unwrap());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let asked = person.site.asked();
        assert!(asked.iter().any(|asked| !asked.of_hub));
        for asked in asked {
            let expected = asked.of_hub.then(|| expected.to_owned());
            assert_eq!(asked.authorization, expected);
        }
    }
}

#[test]
fn hubs_are_named_by_a_flag_or_a_variable_and_encrypted() {
    let person = Person::new(vec![Offer::new("m.gguf", bytes(5000))]);
    let list = ["pull", "--list", "--repo", REPOSITORY];
    let with = |endpoint: &str, args: &[&str]| {
        let mut command = person.at_home(command(&[&list[..], args].concat()));
        ended_as(command.env("HF_ENDPOINT", endpoint).output().unwrap())
    };
    assert!(with(&person.site.address, &[]).text().contains("m.gguf"));
    let Ended { code, stderr, .. } = with("http://mirror.example", &[]);
    assert_eq!(code, 1);
    let hint = "unset it, or say --endpoint http://mirror.example if that is meant";
    assert!(stderr.contains("without encryption") && stderr.contains(hint), "{stderr}");
    let wrong = with("", &["--endpoint", "mirror.example"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("--endpoint: \"mirror.example\" is no address"));
    assert_eq!(with("", &["--repo", "nobody"]).code, 2);
    assert_eq!(with("", &["--connections", "0"]).code, 2);
}
