//! Which shell commands are plain: one program and its words, and nothing else.
//!
//! A rule for `cargo test` must not allow `cargo test; rm -rf ~`. So prefixes are compared with
//! plain commands only. What is plain is listed, and whatever is not listed is not plain: a sign
//! that some shell gives a meaning to is never overlooked.

/// The words of a plain command; `None` if it is not plain.
///
/// Words hold letters, digits and `-_./,:+@%=`; quoted ones anything that quotes take literally.
pub fn words(script: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = script.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let inner: &mut String = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\n' | '\r' | '\0' => return None,
                        '$' | '`' | '\\' | '!' if c == '"' => return None,
                        other => inner.push(other),
                    }
                }
            }
            c if c.is_alphanumeric() || "-_./,:+@%=".contains(c) => {
                word.get_or_insert_default().push(c);
            }
            _ => return None,
        }
    }
    words.extend(word);
    // `NAME=VALUE program` sets a variable, which may change what runs.
    let first: &String = words.first()?;
    (!first.is_empty() && !first.contains('=')).then_some(words)
}

/// Programs that only look, whatever their arguments are.
const LOOKING: [&str; 18] = [
    "basename", "cat", "cut", "date", "df", "diff", "dirname", "du", "echo", "file", "head", "ls",
    "nl", "pwd", "stat", "tail", "wc", "which",
];

/// Programs whose second word says what they do.
const WITH_COMMANDS: [&str; 16] = [
    "apt", "brew", "bun", "bundle", "cargo", "cmake", "deno", "dotnet", "git", "go", "gradle",
    "make", "mvn", "npm", "pnpm", "yarn",
];

/// The beginning of a plain command under which commands like it may be allowed: `cargo test`,
/// `ls`. `None` where a program does whatever its arguments say, such as a shell.
pub fn prefix(script: &str) -> Option<Vec<String>> {
    let mut words = words(script)?;
    let count = match words.first()?.as_str() {
        first if LOOKING.contains(&first) => 1,
        first if WITH_COMMANDS.contains(&first) => 2,
        _ => return None,
    };
    let is_plain = |word: &String| {
        word.starts_with(char::is_alphanumeric) && !word.contains([' ', '\t', '=', '/'])
    };
    words.truncate(count);
    (words.len() == count && words.iter().all(is_plain)).then_some(words)
}

/// Whether a plain command begins with these words.
pub fn begins_with(script: &str, prefix: &[String]) -> bool {
    !prefix.is_empty() && words(script).is_some_and(|words| words.starts_with(prefix))
}
