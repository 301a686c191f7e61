//! Runs a pre-tokenizer: text to words, in linear time.
//!
//! Patterns are compiled to one lazy DFA per stage that is asked at each place how far the leftmost-first match reaches.
//! Last alternatives take characters that begin no match, and any one character, so that there always is a match: what they
//! take together is the text between the matches, a word of its own.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use super::pre::{AHEAD, PreTokenizer, SPACES, Stage, THOUSANDS, TRAILING};
use crate::error::{Error, Result};

/// Makes the scratch memory of a DFA.
type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// A compiled stage.
#[derive(Debug)]
struct Matcher {
    dfa: Arc<DFA>,
    caches: Pool<Cache, NewCache>,
    /// The alternatives that are [`SPACES`], [`TRAILING`], [`THOUSANDS`] and [`AHEAD`].
    spaces: Option<usize>,
    trailing: Option<usize>,
    thousands: Option<usize>,
    ahead: Option<usize>,
    /// The first of the alternatives that take what lies between the matches.
    gap: usize,
    /// See [`PreTokenizer::halve_spaces`].
    halve_spaces: bool,
}

/// A compiled pre-tokenizer.
#[derive(Debug)]
pub(super) struct Splitter {
    stages: Vec<Matcher>,
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("pre-tokenizer: {error}"))
}

impl Matcher {
    fn new(alternatives: Stage, halve_spaces: bool) -> Result<Self> {
        let others = format!("{}+", others(alternatives)?);
        let mut patterns = alternatives.to_vec();
        patterns.extend([others.as_str(), "(?s:.)"]);
        let config = DFA::config().skip_cache_capacity_check(true);
        let captures = thompson::Config::new().which_captures(WhichCaptures::None);
        let dfa = DFA::builder().configure(config).thompson(captures).build_many(&patterns).map_err(internal)?;
        let dfa = Arc::new(dfa);
        let new_cache: NewCache = Box::new({
            let dfa = Arc::clone(&dfa);
            move || dfa.create_cache()
        });
        let place = |wanted| alternatives.iter().position(|&pattern| pattern == wanted);
        Ok(Matcher {
            dfa,
            caches: Pool::new(new_cache),
            spaces: place(SPACES),
            trailing: place(TRAILING),
            thousands: place(THOUSANDS),
            ahead: place(AHEAD),
            gap: alternatives.len(),
            halve_spaces,
        })
    }

    /// Where the match at `start` ends, and which alternative it is. The text must not end at `start`.
    #[inline]
    fn next(&self, cache: &mut Cache, text: &str, start: usize) -> Result<(usize, usize)> {
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let found = self.dfa.try_search_fwd(cache, &input).map_err(internal)?;
        let found = found.ok_or_else(|| internal("no alternative matches"))?;
        Ok((found.offset(), found.pattern().as_usize()))
    }
}

/// The characters that no match of the alternatives begins with.
fn others(alternatives: Stage) -> Result<Hir> {
    let mut firsts = ClassUnicode::empty();
    for pattern in alternatives {
        if add_firsts(&regex_syntax::parse(pattern).map_err(internal)?, &mut firsts) {
            return Err(internal(format!("{pattern} matches nothing")));
        }
    }
    firsts.negate();
    Ok(Hir::class(Class::Unicode(firsts)))
}

/// Adds the characters that matches of a pattern begin with to `firsts`. Returns whether it also matches without any.
fn add_firsts(pattern: &Hir, firsts: &mut ClassUnicode) -> bool {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0).ok().and_then(|text| text.chars().next()) {
            Some(first) => {
                firsts.push(ClassUnicodeRange::new(first, first));
                false
            }
            None => true,
        },
        HirKind::Class(class) => {
            match class {
                Class::Unicode(class) => firsts.union(class),
                Class::Bytes(class) => class.iter().for_each(|range| {
                    firsts.push(ClassUnicodeRange::new(range.start().into(), range.end().into()));
                }),
            }
            false
        }
        HirKind::Repetition(repetition) => add_firsts(&repetition.sub, firsts) || repetition.min == 0,
        HirKind::Capture(capture) => add_firsts(&capture.sub, firsts),
        HirKind::Concat(parts) => parts.iter().all(|part| add_firsts(part, firsts)),
        HirKind::Alternation(parts) => {
            let mut empty = false;
            for part in parts {
                empty |= add_firsts(part, firsts);
            }
            empty
        }
    }
}

impl Splitter {
    /// Compiles a pre-tokenizer.
    pub(super) fn new(pre: &PreTokenizer) -> Result<Self> {
        let stages = pre.stages.iter().map(|stage| Matcher::new(stage, pre.halve_spaces)).collect::<Result<_>>()?;
        Ok(Splitter { stages })
    }

    /// Passes the words of `text` to `word`, in order; together they are the text.
    pub(super) fn split(&self, text: &str, word: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let mut caches: Vec<_> = self.stages.iter().map(|stage| stage.caches.get()).collect();
        split(&self.stages, &mut caches, text, word)
    }
}

/// Applies the first of `stages` to `text`, and the others to each of its words.
fn split(
    stages: &[Matcher],
    caches: &mut [PoolGuard<'_, Cache, NewCache>],
    text: &str,
    word: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let (Some((stage, stages)), Some((cache, caches))) = (stages.split_first(), caches.split_first_mut()) else {
        return word(text);
    };
    let mut pass = |range: Range<usize>| match text.get(range) {
        None | Some("") => Ok(()),
        Some(part) if stages.is_empty() => word(part),
        Some(part) => split(stages, caches, part, word),
    };
    let (mut passed, mut at) = (0, 0);
    while at < text.len() {
        let (mut end, alternative) = stage.next(cache, text, at)?;
        if alternative >= stage.gap || Some(alternative) == stage.trailing && end < text.len() {
            at = end;
            continue;
        }
        let ahead = Some(alternative) == stage.ahead;
        if ahead || Some(alternative) == stage.thousands {
            passed = group(text, passed, at..end, ahead, &mut pass)?;
            at = end;
            continue;
        }
        pass(passed..at)?;
        if Some(alternative) == stage.spaces {
            // `\s+(?!\S)|\s+`: the last space stays with the word behind it, unless it is the only one.
            if end < text.len()
                && let Some((before, _)) = text.get(at..end).and_then(|spaces| spaces.char_indices().next_back())
                && before > 0
            {
                end = at + before;
            }
            if stage.halve_spaces {
                at = halve(text, at..end, &mut pass)?;
            }
        }
        pass(at..end)?;
        passed = end;
        at = end;
    }
    pass(passed..at)
}

/// Where the first `count` characters of a part of `text` end.
fn skip(text: &str, part: Range<usize>, count: usize) -> usize {
    let rest = text.get(part.clone()).unwrap_or_default();
    part.start + rest.char_indices().nth(count).map_or(rest.len(), |(length, _)| length)
}

fn count(text: &str, part: Range<usize>) -> usize {
    text.get(part).unwrap_or_default().chars().count()
}

/// Cuts behind every group of three numbers, aligned on the right, or `ahead` of it. The text from `passed` on goes with
/// the first piece; what follows the last cut starts at the result.
fn group(
    text: &str,
    mut passed: usize,
    numbers: Range<usize>,
    ahead: bool,
    pass: &mut impl FnMut(Range<usize>) -> Result<()>,
) -> Result<usize> {
    let (mut at, mut left) = (numbers.start, count(text, numbers.clone()));
    let mut cut = |at: usize| pass(std::mem::replace(&mut passed, at)..at);
    if ahead && left.is_multiple_of(3) {
        cut(at)?;
    }
    while left > 0 {
        let size = if left.is_multiple_of(3) { 3 } else { left % 3 };
        at = skip(text, at..numbers.end, size);
        left -= size;
        if left > 0 || !ahead {
            cut(at)?;
        }
    }
    Ok(passed)
}

/// Passes on white space in runs of 512, 256, ... 2 characters, the longest first. What is left starts at the result.
fn halve(text: &str, spaces: Range<usize>, pass: &mut impl FnMut(Range<usize>) -> Result<()>) -> Result<usize> {
    let mut at = spaces.start;
    let mut left = count(text, spaces.clone());
    for run in (1..=9).rev().map(|power| 1 << power) {
        while left >= run {
            let end = skip(text, at..spaces.end, run);
            pass(at..end)?;
            at = end;
            left -= run;
        }
    }
    Ok(at)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
