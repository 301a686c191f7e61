//! A set of byte strings that is searched by prefix: which of them does a text begin with?
//!
//! A double array (Aoe 1989) addressed by exclusive or: the child of node n along byte b is node `base[n] ^ b` if that one
//! names n as its parent. A step is one load. Nodes are placed in blocks of 256, since a base and its children share the
//! bits above the lowest 8.

use crate::error::{Error, Result};

/// No node, and no value.
const NONE: u32 = u32::MAX;
/// Strings that are longer are left out: no real vocabulary has any, and they would let a file make searches slow.
const MAX_LENGTH: usize = 512;
/// Blocks in which room for children is looked for.
const OPEN_BLOCKS: usize = 16;
/// Searches in vain after which a block is taken for full.
const PATIENCE: u8 = 32;

#[derive(Debug, Clone, Copy)]
struct Node {
    base: u32,
    /// [`NONE`]: the place is free.
    parent: u32,
    /// [`NONE`]: no string ends here.
    value: u32,
}

const FREE: Node = Node { base: 0, parent: NONE, value: NONE };

/// The strings, each with a value below `u32::MAX`.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// A block that still takes children.
struct Block {
    number: usize,
    failures: u8,
}

/// Strings that share their first `depth` bytes, which lead to `node`.
struct Branch {
    node: usize,
    depth: usize,
    start: usize,
    end: usize,
}

impl Trie {
    /// Builds the trie. Of equal strings the one with the lowest value stays; empty ones and those of more than
    /// [`MAX_LENGTH`] bytes are left out. `tick` hears of every node that is made, by its number; its error ends the work.
    pub(super) fn new(mut strings: Vec<(&[u8], u32)>, tick: impl Fn(usize) -> Result<()>) -> Result<Self> {
        strings.retain(|(string, _)| (1..=MAX_LENGTH).contains(&string.len()));
        strings.sort_unstable();
        let mut trie = Trie::default();
        let mut open = Vec::new();
        trie.add_block(&mut open)?;
        // The root names itself, so that nothing takes its place.
        trie.nodes[0].parent = 0;
        let mut branches = vec![Branch { node: 0, depth: 0, start: 0, end: strings.len() }];
        let mut children: Vec<(u8, usize)> = Vec::with_capacity(256);
        let mut nodes = 0..;
        while let (Some(Branch { node, depth, mut start, end }), Some(number)) = (branches.pop(), nodes.next()) {
            tick(number)?;
            while let Some(&(string, value)) = strings[start..end].first()
                && string.len() == depth
            {
                let slot = &mut trie.nodes[node].value;
                *slot = value.min(*slot);
                start += 1;
            }
            children.clear();
            for (place, (string, _)) in (start..).zip(&strings[start..end]) {
                if children.last().is_none_or(|&(byte, _)| byte != string[depth]) {
                    children.push((string[depth], place));
                }
            }
            if children.is_empty() {
                continue;
            }
            let base = trie.place(&children, &mut open)?;
            trie.nodes[node].base = base as u32;
            branches.try_reserve(children.len()).map_err(|_| Error::OutOfMemory)?;
            for (i, &(byte, start)) in children.iter().enumerate() {
                let child = base ^ usize::from(byte);
                trie.nodes[child].parent = node as u32;
                let end = children.get(i + 1).map_or(end, |&(_, next)| next);
                branches.push(Branch { node: child, depth: depth + 1, start, end });
            }
        }
        Ok(trie)
    }

    fn add_block(&mut self, open: &mut Vec<Block>) -> Result<()> {
        let start = self.nodes.len();
        if u32::try_from(start + 256).is_err() {
            return Err(Error::Unsupported("the vocabulary holds more than 4 GiB of text".into()));
        }
        self.nodes.try_reserve(256).map_err(|_| Error::OutOfMemory)?;
        self.nodes.resize(start + 256, FREE);
        if open.len() == OPEN_BLOCKS {
            open.remove(0);
        }
        open.push(Block { number: start / 256, failures: 0 });
        Ok(())
    }

    /// A base for which the places of all children are free.
    fn place(&mut self, children: &[(u8, usize)], open: &mut Vec<Block>) -> Result<usize> {
        open.retain(|block| block.failures < PATIENCE);
        let first = children.first().map_or(0, |&(byte, _)| usize::from(byte));
        for block in open.iter_mut() {
            let start = block.number * 256;
            let is_free = |place: usize| self.nodes[place].parent == NONE;
            let fits = |&base: &usize| children.iter().all(|&(byte, _)| is_free(base ^ usize::from(byte)));
            let found = (start..start + 256).filter(|&place| is_free(place)).map(|place| place ^ first).find(fits);
            if let Some(base) = found {
                return Ok(base);
            }
            block.failures += 1;
        }
        self.add_block(open)?;
        Ok(self.nodes.len() - 256)
    }

    /// The nodes along `text`.
    #[inline]
    fn walk<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = &'t Node> {
        let mut place = 0;
        text.iter().map_while(move |&byte| {
            let next = (self.nodes.get(place)?.base ^ u32::from(byte)) as usize;
            let child = self.nodes.get(next).filter(|child| child.parent as usize == place && next != 0)?;
            place = next;
            Some(child)
        })
    }

    /// The strings that `text` begins with, from the shortest: length and value.
    #[inline]
    pub(super) fn prefixes<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = (usize, u32)> {
        (1..).zip(self.walk(text)).filter(|(_, node)| node.value != NONE).map(|(length, node)| (length, node.value))
    }

    /// How much of the beginning of `text` some string begins with too.
    #[inline]
    pub(super) fn depth(&self, text: &[u8]) -> usize {
        self.walk(text).count()
    }

    /// The longest string that `text` begins with.
    #[inline]
    pub(super) fn longest(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Strings of few letters and of all bytes, so that nodes have from one to 256 children.
    fn strings() -> Vec<Vec<u8>> {
        let mut state = 1_u64;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut strings: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        for _ in 0..4000 {
            let letters = [2, 5, 256][random(3) as usize];
            strings.push((0..random(9)).map(|_| random(letters) as u8).collect());
        }
        strings
    }

    #[test]
    fn finds_what_a_map_finds() {
        let strings = strings();
        let mut map: BTreeMap<&[u8], u32> = BTreeMap::new();
        for (value, string) in (0..).zip(&strings) {
            map.entry(string).or_insert(value);
        }
        let trie = Trie::new(strings.iter().map(Vec::as_slice).zip(0..).collect(), |_| Ok(())).unwrap();
        for string in &strings {
            for text in [string.clone(), [string, &[1_u8][..]].concat(), [string, &[0_u8, 200][..]].concat()] {
                let expected: Vec<_> = (1..=text.len()).filter_map(|length| Some((length, *map.get(&text[..length])?))).collect();
                assert_eq!(trie.prefixes(&text).collect::<Vec<_>>(), expected, "{text:?}");
                assert_eq!(trie.longest(&text), expected.last().copied());
            }
        }
        assert!(trie.nodes.len() < 8 * strings.iter().map(Vec::len).sum::<usize>(), "{} nodes", trie.nodes.len());
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let new = |string| Trie::new(vec![(string, 1)], |_| Ok(())).unwrap();
        for trie in [Trie::default(), new(b""), new(&[7; MAX_LENGTH + 1])] {
            assert_eq!((trie.longest(b""), trie.longest(&[0; 9]), trie.longest(&[7; 600])), (None, None, None));
        }
    }
}
