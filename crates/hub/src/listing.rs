//! What a repository holds: the hub's list of files, page by page.
//!
//! Everything in it was written by others. Pages, files, names and sizes are bounded, and a file
//! is known by its size and its SHA-256; small files that are not in the hub's large storage have
//! none.

use serde::Deserialize;
use ureq::http::header;

use crate::address::Repository;
use crate::client::{Ask, Hub, Told, limited};
use crate::digest::Sha256;
use crate::error::Error;
use crate::patience::Patience;

const PAGE_BYTES_MAX: u64 = 16 << 20;
const PAGES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 1024;
/// More than any disk.
const FILE_BYTES_MAX: u64 = 1 << 50;
/// What is asked for to begin with.
const FIRST_PAGE: &str = "recursive=true";

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its bytes, if the hub tells.
    pub sha256: Option<Sha256>,
    /// Changes with its bytes: the hash if there is one, else git's name for them.
    pub version: String,
}

impl Entry {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: u64,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// All files of a repository, in the order of their paths.
    ///
    /// # Errors
    /// The hub does not answer, gives no access, or answers what makes no sense.
    pub fn list(
        &self,
        repository: &Repository,
        patience: &Patience,
        told: Told<'_>,
    ) -> Result<Vec<Entry>, Error> {
        let what = repository.to_string();
        let mut entries = Vec::new();
        let mut query = FIRST_PAGE.to_owned();
        for _ in 0..PAGES_MAX {
            let url = self.endpoint().tree(repository, &query);
            let ask = Ask { url: &url, what: &what, range: None };
            let (link, body) = self.insist(&ask, patience, told, &|answer| {
                let link = answer.link();
                Ok((link, limited(answer.response, PAGE_BYTES_MAX)?))
            })?;
            let wrong = |found: String| Error::Answer { what: what.clone(), found };
            entries.extend(parse(&body).map_err(wrong)?);
            match link.as_deref().and_then(next_page) {
                Some(next) => query = next,
                None => {
                    entries.sort_by(|a, b| a.path.cmp(&b.path));
                    return Ok(entries);
                }
            }
        }
        let found = format!("its list has more than {PAGES_MAX} pages");
        Err(Error::Answer { what, found })
    }
}

impl crate::client::Answer {
    fn link(&self) -> Option<String> {
        let link = self.response.headers().get(header::LINK)?;
        Some(link.to_str().ok()?.to_owned())
    }
}

/// One page of the list: its files, without the folders.
///
/// # Errors
/// A sentence about what is wrong.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let items: Vec<Item> = serde_json::from_slice(bytes)
        .map_err(|error| format!("its list of files cannot be read: {error}"))?;
    items.into_iter().filter(|item| item.kind == "file").map(entry).collect()
}

fn entry(item: Item) -> Result<Entry, String> {
    let Item { path, size, oid, lfs, .. } = item;
    let odd = |part: &str| matches!(part, "" | "." | "..");
    let controls = path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'));
    if path.len() > PATH_BYTES_MAX || controls || path.split('/').any(odd) {
        let shown: String = path.chars().take(80).collect();
        return Err(format!("its list has a file called {shown:?}"));
    }
    if size > FILE_BYTES_MAX {
        return Err(format!("{path} is said to have {size} bytes"));
    }
    let Some(lfs) = lfs else {
        let is_name = |oid: &String| oid.len() <= 128 && oid.bytes().all(|b| b.is_ascii_hexdigit());
        let version = oid.filter(is_name).ok_or_else(|| format!("{path} has no version"))?;
        return Ok(Entry { path, size, sha256: None, version });
    };
    let digits = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
    let sha256: Sha256 = digits.parse().map_err(|()| format!("{path} has no SHA-256"))?;
    if lfs.size != size {
        return Err(format!("{path} has two sizes, {size} and {} bytes", lfs.size));
    }
    Ok(Entry { path, size, sha256: Some(sha256), version: sha256.to_string() })
}

/// The query of the next page, from a `Link` header. Only that of it is used: mirrors name other
/// hosts there, which are not asked.
pub fn next_page(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    let query = address.split_once('?')?.1;
    let usual = query.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'\\'));
    (usual && query.len() <= 4096).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn lists_are_read_as_the_hub_writes_them() {
        let page = format!(
            r#"[{{"type":"directory","oid":"aa","size":0,"path":"sub"}},
            {{"type":"file","oid":"9f2c","size":12,"path":"README.md"}},
            {{"type":"file","oid":"b2","size":5989114272,"path":"sub/m.gguf","xetHash":"c3",
              "lfs":{{"oid":"{HASH}","size":5989114272,"pointerSize":135}}}}]"#
        );
        let entries = parse(page.as_bytes()).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].name(), entries[0].sha256), ("README.md", None));
        assert_eq!(entries[1].name(), "m.gguf");
        assert_eq!(entries[1].size, 5_989_114_272);
        assert_eq!(entries[1].sha256, Some(Sha256::of(b"abc")));
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let item = |path: &str, size: &str, rest: &str| {
            format!(r#"[{{"type":"file","path":{path:?},"size":{size}{rest}}}]"#)
        };
        let oid = r#","oid":"9f2c""#;
        let lfs = |oid: &str, size: u64| format!(r#","lfs":{{"oid":"{oid}","size":{size}}}"#);
        for (page, expected) in [
            ("<html>".to_owned(), "cannot be read"),
            ("{}".to_owned(), "cannot be read"),
            (item("a", "-1", oid), "cannot be read"),
            (item("../a", "1", oid), "a file called"),
            (item("/a", "1", oid), "a file called"),
            (item("a//b", "1", oid), "a file called"),
            (item("C:a", "1", oid), "a file called"),
            (item("a\nb", "1", oid), "a file called"),
            (item("a", "18446744073709551615", oid), "is said to have"),
            (item("a", "1", ""), "has no version"),
            (item("a", "1", &lfs("abc", 1)), "has no SHA-256"),
            (item("a", "1", &lfs(HASH, 2)), "two sizes, 1 and 2 bytes"),
        ] {
            let error = parse(page.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{page}: {error}");
        }
    }

    #[test]
    fn further_pages_are_asked_of_the_same_hub() {
        let link = r#"<https://other.example/api/x?recursive=true&cursor=ab%3D>; rel="next""#;
        assert_eq!(next_page(link).as_deref(), Some("recursive=true&cursor=ab%3D"));
        for none in
            ["", "<https://x/?a>; rel=\"prev\"", "<https://x/>; rel=\"next\"", "rel=\"next\""]
        {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
