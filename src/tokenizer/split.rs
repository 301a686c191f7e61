//! Runs a pre-tokenizer: text to words, in linear time.
//!
//! Patterns are compiled to one lazy DFA per stage that is asked at each place how far the leftmost-first match reaches.
//! A last alternative takes any one character, so that there always is a match: runs of it are the text between the
//! matches, a word of its own.

use std::ops::Range;
use std::sync::Arc;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::{Anchored, Input};

use super::pre::{PreTokenizer, SPACES, Stage, THOUSANDS, TRAILING};
use crate::error::{Error, Result};

/// Makes the scratch memory of a DFA.
type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// A compiled stage.
#[derive(Debug)]
struct Matcher {
    dfa: Arc<DFA>,
    caches: Pool<Cache, NewCache>,
    /// The alternatives that are [`SPACES`], [`TRAILING`] and [`THOUSANDS`].
    spaces: Option<usize>,
    trailing: Option<usize>,
    thousands: Option<usize>,
    /// The alternative that is any character.
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
        let mut patterns = alternatives.to_vec();
        patterns.push("(?s:.)");
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
        if alternative == stage.gap || Some(alternative) == stage.trailing && end < text.len() {
            at = end;
            continue;
        }
        if Some(alternative) == stage.thousands {
            passed = group(text, passed, at..end, &mut pass)?;
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

/// Passes on numbers in groups of three, aligned on the right; the text from `passed` on goes with the first.
fn group(
    text: &str,
    mut passed: usize,
    numbers: Range<usize>,
    pass: &mut impl FnMut(Range<usize>) -> Result<()>,
) -> Result<usize> {
    let mut at = numbers.start;
    let mut left = count(text, numbers.clone());
    while left > 0 {
        let size = if left.is_multiple_of(3) { 3 } else { left % 3 };
        at = skip(text, at..numbers.end, size);
        pass(passed..at)?;
        passed = at;
        left -= size;
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
