//! Bad days: servers that are busy, cut, lie, or lead elsewhere.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hub::{Download, Error, Event, Outcome};

use crate::good::{entry, names, options, pull, pull_with};
use crate::site::{Act, Asked, Offer, Site, bytes, hasty, ranges, repository};

fn site() -> (Site, Vec<u8>) {
    let content = bytes(40_000);
    (Site::new(vec![Offer::new("m.gguf", content.clone())]), content)
}

/// Pulls with a rule for requests for bytes; the error, and what is in the folder then.
fn fails(rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> (Error, Vec<String>) {
    let (site, _) = site();
    let entry = entry(&site, "m.gguf");
    site.rule(rule);
    let folder = tempfile::tempdir().unwrap();
    let error = pull(&site, &entry, &folder.path().join("m.gguf")).unwrap_err();
    let names = names(folder.path());
    assert!(!names.contains(&"m.gguf".to_owned()), "{names:?}");
    (error, names)
}

fn of_files(act: Act) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    move |asked| if asked.of_hub { Act::Behave } else { act.clone() }
}

#[test]
fn cut_connections_go_on_from_where_they_were_cut() {
    let (site, content) = site();
    let entry = entry(&site, "m.gguf");
    site.asked();
    site.rule(of_files(Act::Cut(1500)));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    assert_eq!(pull(&site, &entry, &target).unwrap(), Outcome::Whole { fetched: 40_000 });
    assert!(std::fs::read(&target).unwrap() == content);
    // Ten pieces of 4000 bytes, of which each attempt gives 1500.
    let expected = (0..10).flat_map(|piece| {
        let last = 4000 * piece + 3999;
        [0, 1500, 3000].map(|first| (4000 * piece + first, last))
    });
    // The imitation sorts by the first byte.
    assert!(ranges(&site.asked()).into_iter().eq(expected));
}

#[test]
fn connections_that_say_nothing_count_as_cut() {
    let (site, content) = site();
    let entry = entry(&site, "m.gguf");
    site.rule(|asked| match (asked.of_hub, asked.number % 5) {
        (false, 0) => Act::Stall(100, Duration::from_secs(20)),
        _ => Act::Behave,
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    let hub = site.hub_with(None, Duration::from_millis(300));
    pull_with(&hub, &entry, &target).unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
}

#[test]
fn slow_is_not_cut() {
    let (site, content) = site();
    let entry = entry(&site, "m.gguf");
    site.asked();
    // Each piece takes longer than a connection may say nothing.
    site.rule(of_files(Act::Slow(250, Duration::from_millis(100))));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    pull_with(&site.hub_with(None, Duration::from_secs(1)), &entry, &target).unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(ranges(&site.asked()).len(), 10, "nothing was asked for twice");
}

#[test]
fn other_ranges_than_those_asked_for_are_refused() {
    for (act, expected) in [
        (Act::Whole, "the server sends the whole file"),
        (Act::Range("bytes 1-4000/40000".to_owned()), "the range \"bytes 1-4000/40000\""),
        (Act::Range("bytes 0-1/40000".to_owned()), "the range \"bytes 0-1/40000\""),
        (Act::Range("bytes 0-3999/39999".to_owned()), "the range \"bytes 0-3999/39999\""),
        (Act::Range("nonsense".to_owned()), "the range \"nonsense\""),
        (Act::Status(416, String::new()), "answers with status 416"),
        (Act::Status(204, String::new()), "answers with status 204"),
    ] {
        let (error, _) = fails(of_files(act.clone()));
        assert!(error.to_string().contains(expected), "{act:?}: {error}");
        assert!(!matches!(error, Error::Connection { .. }), "{act:?}: {error:?}");
    }
}

#[test]
fn wrong_bytes_are_not_kept() {
    let (error, names) = fails(|asked| match (asked.of_hub, asked.range) {
        (false, Some((8000, _))) => Act::Corrupt,
        _ => Act::Behave,
    });
    assert!(matches!(error, Error::Hash { .. }), "{error}");
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn a_size_that_is_not_true_is_found() {
    for size in [39_999, 40_001] {
        let (site, content) = site();
        let honest = Offer::new("m.gguf", content);
        site.offer(vec![Offer { size, ..honest }]);
        let folder = tempfile::tempdir().unwrap();
        let error = pull(&site, &entry(&site, "m.gguf"), &folder.path().join("m.gguf"));
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Range { .. }), "{size}: {error}");
    }
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_not_mixed() {
    let (site, _) = site();
    let entry = entry(&site, "m.gguf");
    let mut other = bytes(40_000);
    other[5] ^= 1;
    site.offer(vec![Offer::new("m.gguf", other)]);
    let folder = tempfile::tempdir().unwrap();
    let error = pull(&site, &entry, &folder.path().join("m.gguf")).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}

#[test]
fn refusals_are_told_apart() {
    let (site, _) = site();
    for (status, token) in [(401, false), (401, true), (403, false), (403, true), (404, false)] {
        site.rule(move |_| Act::Status(status, String::new()));
        site.asked();
        let hub = site.hub(token.then_some("hf_secret"));
        let error = hub.list(&repository(), &hasty(), &mut |_, _| {}).unwrap_err();
        match (status, &error) {
            (401, Error::Unauthorized { token: sent, .. }) => assert_eq!(*sent, token),
            (403, Error::Forbidden { token: sent, .. }) => assert_eq!(*sent, token),
            (404, Error::NotFound { .. }) => {}
            _ => panic!("{status}: {error:?}"),
        }
        assert_eq!(site.asked().len(), 1, "{status}: asking again would not help");
    }
}

#[test]
fn busy_servers_are_asked_again_when_they_say() {
    let (site, content) = site();
    let entry = entry(&site, "m.gguf");
    for (status, headers) in
        [(429, "Retry-After: 1\r\n"), (503, ""), (502, ""), (504, ""), (500, ""), (408, "")]
    {
        let busy = std::sync::atomic::AtomicUsize::new(0);
        site.rule(move |asked| {
            let early = !asked.of_hub
                && asked.range.is_some_and(|(first, _)| first == 4000)
                && busy.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
            if early { Act::Status(status, headers.to_owned()) } else { Act::Behave }
        });
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("m.gguf");
        let mut waits = Vec::new();
        let mut told = |event: Event<'_>| {
            if let Event::Waiting(error, wait) = event {
                assert!(matches!(error, Error::Status { status: s, .. } if *s == status));
                waits.push(wait);
            }
        };
        let (hub, repository) = (site.hub(None), repository());
        let download = Download::new(&hub, &repository, &entry, &target);
        let start = std::time::Instant::now();
        download.run(&options(), &mut told, &AtomicBool::new(false)).unwrap();
        assert!(std::fs::read(&target).unwrap() == content, "{status}");
        assert_eq!(waits.len(), 2, "{status}");
        if status == 429 {
            assert_eq!(waits, [Duration::from_secs(1); 2]);
            assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
        }
    }
}

#[test]
fn patience_ends() {
    let (error, names) = fails(of_files(Act::Status(503, String::new())));
    assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
    assert_eq!(names, ["m.gguf.pulling", "m.gguf.pulling.journal"], "what came is kept");
    let (error, _) = fails(of_files(Act::Status(429, "Retry-After: 3600\r\n".to_owned())));
    assert!(error.to_string().contains("asks to wait for 60 minutes"), "{error}");
    let (error, _) = fails(of_files(Act::Cut(0)));
    assert!(matches!(error, Error::Connection { .. }), "{error}");
}

#[test]
fn signed_addresses_that_expire_are_asked_for_again() {
    let (site, content) = site();
    let entry = entry(&site, "m.gguf");
    site.asked();
    // Of each part, the first address has expired.
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    site.rule(move |asked| match !asked.of_hub && seen.lock().unwrap().insert(asked.range) {
        true => Act::Status(403, String::new()),
        false => Act::Behave,
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    pull(&site, &entry, &target).unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
    let of_hub = site.asked().iter().filter(|asked| asked.of_hub).count();
    assert_eq!(of_hub, 20, "each attempt has asked the hub for an address");
}

#[test]
fn redirects_lead_somewhere_and_stay_encrypted() {
    for (location, expected) in [
        (Some("http://192.0.2.1/m.gguf"), "a redirect to 192.0.2.1 without encryption"),
        (Some("file:///etc/passwd"), "what is no address"),
        (Some("https://name@hub.example/"), "what is no address of HTTP"),
        (Some("/some-one/models/resolve/main/m.gguf"), "more than 8 redirects"),
        (None, "a redirect to nowhere"),
    ] {
        let headers = location.map_or(String::new(), |to| format!("Location: {to}\r\n"));
        let (error, _) = fails(move |asked| match asked.target.contains("/resolve/") {
            true => Act::Status(302, headers.clone()),
            false => Act::Behave,
        });
        assert!(error.to_string().contains(expected), "{location:?}: {error}");
    }
}

#[test]
fn lists_that_are_none_are_refused() {
    let (site, _) = site();
    let page =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let endless = "HTTP/1.1 200 OK\r\nLink: <https://x/?cursor=1>; rel=\"next\"\r\n\
                   Content-Length: 2\r\nConnection: close\r\n\r\n[]";
    for (raw, expected) in [
        (page("<html>welcome"), "its list of files cannot be read"),
        (
            page("[{\"type\":\"file\",\"path\":\"../x\",\"size\":1,\"oid\":\"aa\"}]"),
            "a file called",
        ),
        (endless.to_owned(), "more than 64 pages"),
        ("nonsense\r\n\r\n".to_owned(), "no answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[".to_owned(), "ended early"),
    ] {
        let bytes = raw.clone();
        site.rule(move |_| Act::Raw(bytes.clone()));
        let error = site.hub(None).list(&repository(), &hasty(), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains(expected), "{raw:?}: {error}");
    }
}

#[test]
fn nobody_there_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (mut site, _) = site();
    site.address = address;
    let mut waits = 0;
    let error = site.hub(None).list(&repository(), &hasty(), &mut |_, _| waits += 1).unwrap_err();
    assert!(error.to_string().contains("no answer from 127.0.0.1"), "{error}");
    assert_eq!(waits, 4);
}
