//! A Rust file as a flat list of tokens, so that strings and comments never fool a rule.
//!
//! Owns the lexing, the pairing of brackets and the question "is this line a test?". It knows no
//! rule of the house. Rules ask for token patterns: `source.find(&[".", "unwrap", "(", ")"])`
//! yields every place where these four tokens follow each other, whatever the spacing. Comments
//! are not tokens (documentation comments are dropped too), and a string is one token with its
//! quotes, so it equals no pattern. Start reading at `Source::lex`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, LineColumn, TokenStream, TokenTree};

/// What a token is, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keyword, name or `_`.
    Word,
    /// One punctuation character.
    Punct,
    /// String, character or number, with its quotes and suffix.
    Literal,
    /// Opening bracket; `partner` is the closing one.
    Open,
    /// Closing bracket; `partner` is the opening one.
    Close,
}

/// One token of the file.
#[derive(Debug)]
pub struct Token {
    /// The text as written.
    pub text: String,
    /// What it is.
    pub kind: Kind,
    /// First line, from 1.
    pub line: usize,
    /// Index of the other bracket of a pair, or of the token itself.
    pub partner: usize,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Name without its path.
    pub name: String,
    /// Line of the `fn` keyword, from 1.
    pub line: usize,
    /// Lines from the `fn` keyword to the closing brace, both included.
    pub line_count: usize,
}

/// A lexed Rust file.
#[derive(Debug)]
pub struct Source {
    /// All tokens in file order.
    pub tokens: Vec<Token>,
    /// Lines of items that are compiled for tests only, from their attribute to their end.
    pub test_lines: Vec<RangeInclusive<usize>>,
    /// Names of modules declared as `#[cfg(test)] mod name;`: their files are tests.
    pub test_modules: Vec<String>,
}

impl Source {
    /// Reads the tokens of `text`; fails where the compiler's lexer would.
    pub fn lex(text: &str) -> Result<Source, LexError> {
        let stream = TokenStream::from_str(text)?;
        let lines: Vec<&str> = text.lines().collect();
        let mut tokens = Vec::new();
        flatten(stream, &lines, &mut tokens);
        let mut source = Source { tokens, test_lines: Vec::new(), test_modules: Vec::new() };
        source.mark_tests(lines.len());
        Ok(source)
    }

    /// Indices at which the texts of consecutive tokens equal `pattern`.
    pub fn find(&self, pattern: &[&str]) -> Vec<usize> {
        let matches = |window: &[Token]| window.iter().zip(pattern).all(|(t, text)| t.is(text));
        let windows = self.tokens.windows(pattern.len()).enumerate();
        windows.filter(|(_, window)| matches(window)).map(|(index, _)| index).collect()
    }

    /// Token index ranges of the attributes (`#[…]`, `#![…]`), brackets included.
    pub fn attributes(&self) -> Vec<RangeInclusive<usize>> {
        let outer = self.find(&["#", "["]).into_iter().map(|at| at + 1);
        let inner = self.find(&["#", "!", "["]).into_iter().map(|at| at + 2);
        outer.chain(inner).map(|open| open..=self.tokens[open].partner).collect()
    }

    /// The texts between the brackets whose opening one has index `open`.
    pub fn inside(&self, open: usize) -> Vec<&str> {
        let tokens = &self.tokens[open + 1..self.tokens[open].partner];
        tokens.iter().map(|token| token.text.as_str()).collect()
    }

    /// Whether line `line` belongs to an item compiled for tests only.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Lines taken by items compiled for tests only.
    pub fn test_line_count(&self) -> usize {
        let mut counted_to = 0;
        let mut count = 0;
        for lines in &self.test_lines {
            let start = (*lines.start()).max(counted_to + 1);
            count += (lines.end() + 1).saturating_sub(start);
            counted_to = counted_to.max(*lines.end());
        }
        count
    }

    /// Every function with a body; one inside another is listed as well.
    pub fn functions(&self) -> Vec<Function> {
        let starts = (0..self.tokens.len().saturating_sub(1)).filter(|&index| {
            self.tokens[index].is("fn") && self.tokens[index + 1].kind == Kind::Word
        });
        let function = |index: usize| {
            let last = self.item_end(index).filter(|&end| self.tokens[end].is("}"))?;
            let line = self.tokens[index].line;
            let line_count = self.tokens[last].line - line + 1;
            Some(Function { name: self.tokens[index + 1].text.clone(), line, line_count })
        };
        starts.filter_map(function).collect()
    }

    /// Index of the `;` or of the closing brace that ends the item starting at `index`; none if
    /// the surrounding block ends first.
    fn item_end(&self, mut index: usize) -> Option<usize> {
        loop {
            let token = self.tokens.get(index)?;
            match (token.kind, token.text.as_str()) {
                (Kind::Close, _) => return None,
                (Kind::Open, "{") => return Some(token.partner),
                (Kind::Open, _) => index = token.partner + 1,
                (Kind::Punct, ";") => return Some(index),
                _ => index += 1,
            }
        }
    }

    fn mark_tests(&mut self, line_count: usize) {
        if !self.find(&["#", "!", "[", "cfg", "(", "test", ")", "]"]).is_empty() {
            self.test_lines = vec![1..=line_count];
            return;
        }
        let mut starts = self.find(&["#", "[", "cfg", "(", "test", ")", "]"]);
        starts.extend(self.find(&["#", "[", "test", "]"]));
        starts.sort_unstable();
        for start in starts {
            let mut item = start;
            while self.tokens.get(item).is_some_and(|token| token.is("#")) {
                item = self.tokens[item + 1].partner + 1;
            }
            let end = self.item_end(item).unwrap_or(item.min(self.tokens.len() - 1));
            let words = self.tokens[item..end].iter().map(|token| token.text.as_str());
            let words: Vec<&str> = words.collect();
            if let [.., "mod", name] = words[..] {
                self.test_modules.push(name.to_owned());
            }
            self.test_lines.push(self.tokens[start].line..=self.tokens[end].line);
        }
    }
}

fn flatten(stream: TokenStream, lines: &[&str], tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let start = tree.span().start();
        if is_doc_comment(&tree, lines) {
            // A documentation comment arrives as `#`, perhaps `!`, and `[doc = "…"]`, all with the
            // span of the comment.
            while trees.peek().is_some_and(|next| next.span().start() == start) {
                trees.next();
            }
            continue;
        }
        let index = tokens.len();
        let mut push = |text: String, kind| {
            tokens.push(Token { text, kind, line: start.line, partner: index });
        };
        match tree {
            TokenTree::Ident(word) => push(word.to_string(), Kind::Word),
            TokenTree::Punct(punct) => push(punct.as_char().to_string(), Kind::Punct),
            TokenTree::Literal(literal) => push(literal.to_string(), Kind::Literal),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace | Delimiter::None => ("{", "}"),
                };
                push(open.to_owned(), Kind::Open);
                flatten(group.stream(), lines, tokens);
                let line = group.span_close().start().line;
                tokens[index].partner = tokens.len();
                tokens.push(Token { text: close.into(), kind: Kind::Close, line, partner: index });
            }
        }
    }
}

fn is_doc_comment(tree: &TokenTree, lines: &[&str]) -> bool {
    let LineColumn { line, column } = tree.span().start();
    let is_hash = matches!(tree, TokenTree::Punct(punct) if punct.as_char() == '#');
    is_hash && lines.get(line - 1).and_then(|text| text.chars().nth(column)) == Some('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Source {
        Source::lex(text).expect("the snippet lexes")
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        let source = lex(concat!(
            "/// Docs with `x.unwrap()`.\n",
            "fn f() {\n",
            "    // x.unwrap()\n",
            "    let s = \"x.unwrap()\"; let r = r#\"x.unwrap()\"#;\n",
            "    /* x.unwrap() */ y . unwrap ( );\n",
            "}\n",
        ));
        let found = source.find(&[".", "unwrap", "(", ")"]);
        assert_eq!(found.len(), 1);
        assert_eq!(source.tokens[found[0]].line, 5);
        assert!(source.tokens.iter().all(|token| token.text != "doc"));
    }

    #[test]
    fn a_real_doc_attribute_is_kept_and_attributes_are_found() {
        let source = lex("#![allow(dead_code)]\n#[doc = \"x\"]\nfn f() {}\n");
        assert_eq!(source.find(&["doc", "="]).len(), 1);
        assert_eq!(source.attributes().len(), 2);
        assert_eq!(source.inside(*source.attributes()[0].start()), ["doc", "=", "\"x\""]);
    }

    #[test]
    fn functions_are_measured_from_keyword_to_brace() {
        let source = lex(concat!(
            "trait T { fn declared(&self); }\n",
            "fn one() { type F = fn(u8); }\n",
            "pub fn three<const N: usize>(a: [u8; N])\n",
            "where [u8; N]: Sized {\n",
            "}\n",
        ));
        let found: Vec<(String, usize)> =
            source.functions().into_iter().map(|f| (f.name, f.line_count)).collect();
        assert_eq!(found, [("one".to_owned(), 1), ("three".to_owned(), 3)]);
    }

    #[test]
    fn test_items_end_where_they_end() {
        let source = lex(concat!(
            "#[cfg(test)]\n",
            "#[allow(dead_code)]\n",
            "mod tests {\n",
            "    #[test]\n",
            "    fn t() {}\n",
            "}\n",
            "fn after() {}\n",
            "#[cfg(test)]\n",
            "mod elsewhere;\n",
            "fn last() {}\n",
        ));
        let test: Vec<usize> = (1..=10).filter(|&line| source.is_test_line(line)).collect();
        assert_eq!(test, [1, 2, 3, 4, 5, 6, 8, 9]);
        assert_eq!(source.test_line_count(), 8);
        assert_eq!(source.test_modules, ["elsewhere"]);
    }
}
