//! Rules: exceptions from a recipe, by the names of tensors.
//!
//! A rule is typed as `PATTERN=FORMAT`, such as `blk.{37,38}.ffn_down_exps.weight=q4_k`. The
//! pattern is matched against whole names of the output: `*` stands for any characters, `?` for
//! one, `{a,b}` for alternatives, `[0-9]` for one of a class. Of several rules that match, the last
//! one holds.

use std::str::FromStr;

use gguf::Format;
use globset::{Glob, GlobMatcher};

use crate::encode::is_encodable;
use crate::error::quote;

/// An exception from a recipe.
#[derive(Clone, Debug)]
pub struct Rule {
    matcher: GlobMatcher,
    format: Format,
}

impl Rule {
    /// The pattern, as it was typed.
    pub fn pattern(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// What matrices of these names become.
    pub fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(typed: &str) -> Result<Rule, String> {
        let Some((pattern, format)) = typed.rsplit_once('=') else {
            return Err(format!("expected PATTERN=FORMAT, found {}", quote(typed)));
        };
        let glob = Glob::new(pattern).map_err(|error| error.to_string())?;
        let known = Format::from_name(format).filter(|format| is_encodable(*format));
        let format = known.ok_or_else(|| {
            let formats = Format::KNOWN.into_iter().filter(|format| is_encodable(*format));
            let names: Vec<_> = formats.map(Format::name).collect();
            format!("cannot write format {}, expected one of {}", quote(format), names.join(", "))
        })?;
        Ok(Rule { matcher: glob.compile_matcher(), format })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let rule: Rule = "blk.{3,4?}.ffn_*_exps.weight=q4_k".parse().unwrap();
        assert_eq!((rule.pattern(), rule.format()), ("blk.{3,4?}.ffn_*_exps.weight", Format::Q4K));
        assert!(rule.matches("blk.3.ffn_up_exps.weight"));
        assert!(rule.matches("blk.41.ffn_down_exps.weight"));
        assert!(!rule.matches("blk.31.ffn_up_exps.weight"));
        assert!(!rule.matches("a.blk.3.ffn_up_exps.weight"));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let refused = |typed: &str| typed.parse::<Rule>().unwrap_err();
        assert!(refused("output.weight").contains("expected PATTERN=FORMAT"));
        assert!(refused("*=q3_k").contains("cannot write format 'q3_k', expected one of F32"));
        assert!(refused("[=f16").contains("unclosed"), "{}", refused("[=f16"));
    }
}
