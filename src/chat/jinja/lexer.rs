//! Template source -> tokens, with Jinja's whitespace control (`trim_blocks` and `lstrip_blocks` on).

use super::meter::{Eval, Fault};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'s> {
    /// Literal text between tags.
    Text(&'s str),
    /// `{{`
    PrintBegin,
    /// `}}`
    PrintEnd,
    /// `{%`
    BlockBegin,
    /// `%}`
    BlockEnd,
    Name(&'s str),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token<'s> {
    pub(super) offset: usize,
    pub(super) kind: Kind<'s>,
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|",
    ",", ";",
];

/// What Python takes for a space.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\x1c'..='\x1f').contains(&char)
}

/// Tokens of the whole template, [`Kind::End`] last.
pub(super) fn tokens(source: &str) -> Eval<Vec<Token<'_>>> {
    let mut lexer = Lexer { source, at: 0, line_start: true, tokens: Vec::new() };
    lexer.template()?;
    lexer.push(source.len(), Kind::End);
    Ok(lexer.tokens)
}

/// What stays of the text before a tag; `line_start` says whether the text begins a line.
fn before_tag(text: &str, sign: Option<char>, block: bool, line_start: bool) -> &str {
    match sign {
        Some('-') => text.trim_end_matches(is_space),
        None if block => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let indented = (line > 0 || line_start) && text[line..].chars().all(is_space);
            if indented { &text[..line] } else { text }
        }
        _ => text,
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// Whether the last token ended with a line feed.
    line_start: bool,
    tokens: Vec<Token<'s>>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, offset: usize, kind: Kind<'s>) {
        self.tokens.push(Token { offset, kind });
    }

    fn text(&mut self, text: &'s str) {
        if !text.is_empty() {
            self.push(self.at, Kind::Text(text));
        }
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn skip_space(&mut self) {
        self.at = self.source.len() - self.rest().trim_start_matches(is_space).len();
    }

    /// Consumes the end of a tag: `-` takes the white space after it along, `+` nothing, else one line feed if `trims`.
    fn close(&mut self, end: &str, trims: bool) -> bool {
        let from = self.at;
        let sign = self.rest().chars().next().filter(|sign| "+-".contains(*sign) && self.rest()[1..].starts_with(end));
        match sign {
            Some(sign) => {
                self.at += 1 + end.len();
                if sign == '-' {
                    self.skip_space();
                }
            }
            None if self.eat(end) => {
                if trims {
                    self.eat("\n");
                }
            }
            None => return false,
        }
        self.line_start = self.source[from..self.at].ends_with('\n');
        true
    }

    fn template(&mut self) -> Eval<()> {
        loop {
            let rest = self.rest();
            let tag = rest.match_indices('{').find(|(at, _)| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
            let Some((length, _)) = tag else {
                self.text(rest);
                return Ok(());
            };
            let start = self.at + length;
            let opener = &self.source[start..start + 2];
            let sign = self.source[start + 2..].chars().next().filter(|sign| "+-".contains(*sign));
            let text = before_tag(&rest[..length], sign, opener != "{{", self.line_start);
            self.text(text);
            self.at = start + 2 + usize::from(sign.is_some());
            match opener {
                "{#" => self.comment(start)?,
                "{{" => {
                    self.push(start, Kind::PrintBegin);
                    self.inside(start, "}}")?;
                }
                _ if self.word_tag("raw", false) => self.raw(start)?,
                _ => {
                    self.push(start, Kind::BlockBegin);
                    self.inside(start, "%}")?;
                }
            }
        }
    }

    fn comment(&mut self, start: usize) -> Eval<()> {
        let Some(length) = self.rest().find("#}") else {
            return Err(Fault::new("a comment is not closed").at(start));
        };
        let signed = self.rest()[..length].ends_with(['+', '-']);
        self.at += length - usize::from(signed);
        self.close("#}", true);
        Ok(())
    }

    /// Consumes a tag that is only `word`, after its opening; `trims` as in [`close`](Self::close).
    fn word_tag(&mut self, word: &str, trims: bool) -> bool {
        let (from, line_start) = (self.at, self.line_start);
        self.skip_space();
        if self.eat(word) {
            self.skip_space();
            if self.close("%}", trims) {
                return true;
            }
        }
        (self.at, self.line_start) = (from, line_start);
        false
    }

    fn raw(&mut self, start: usize) -> Eval<()> {
        let (body, line_start) = (self.at, self.line_start);
        loop {
            let Some(length) = self.rest().find("{%") else {
                return Err(Fault::new("raw is not closed").at(start));
            };
            let end = self.at + length;
            let sign = self.source[end + 2..].chars().next().filter(|sign| "+-".contains(*sign));
            self.at = end + 2 + usize::from(sign.is_some());
            if self.word_tag("endraw", true) {
                let text = before_tag(&self.source[body..end], sign, true, line_start);
                if !text.is_empty() {
                    self.push(body, Kind::Text(text));
                }
                return Ok(());
            }
        }
    }

    /// The tokens of a tag up to its `end`. Inside brackets the end is not one: `{{ {'a': {}} }}`.
    fn inside(&mut self, start: usize, end: &'static str) -> Eval<()> {
        let mut open = Vec::new();
        loop {
            self.skip_space();
            let offset = self.at;
            if open.is_empty() && self.close(end, end == "%}") {
                self.push(offset, if end == "%}" { Kind::BlockEnd } else { Kind::PrintEnd });
                return Ok(());
            }
            let Some(char) = self.rest().chars().next() else {
                return Err(Fault::new("a tag is not closed").at(start));
            };
            let kind = match char {
                '\'' | '"' => self.string(char)?,
                '0'..='9' => self.number()?,
                _ if char == '_' || char.is_alphabetic() => {
                    let rest = self.rest();
                    let length = rest.find(|char: char| char != '_' && !char.is_alphanumeric()).unwrap_or(rest.len());
                    self.at += length;
                    Kind::Name(&rest[..length])
                }
                _ => self.operator(char, &mut open)?,
            };
            self.push(offset, kind);
        }
    }

    fn operator(&mut self, char: char, open: &mut Vec<&'static str>) -> Eval<Kind<'s>> {
        let Some(operator) = OPERATORS.into_iter().find(|operator| self.rest().starts_with(operator)) else {
            return Err(Fault::new(format!("unexpected character {char:?}")).at(self.at));
        };
        match operator {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(operator) => {
                return Err(Fault::new(format!("unexpected '{operator}'")).at(self.at));
            }
            _ => {}
        }
        self.at += operator.len();
        Ok(Kind::Op(operator))
    }

    /// A string literal with Python's escapes.
    fn string(&mut self, quote: char) -> Eval<Kind<'s>> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest()[1..].chars();
        loop {
            match chars.next() {
                None => return Err(Fault::new("a string is not closed").at(start)),
                Some(char) if char == quote => break,
                Some('\\') => {
                    let hex = |chars: &mut std::str::Chars<'s>, digits: usize| {
                        let text = chars.as_str().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
                        let char = text.and_then(|text| u32::from_str_radix(text, 16).ok()).and_then(char::from_u32);
                        if char.is_some() {
                            *chars = chars.as_str()[digits..].chars();
                        }
                        char.ok_or_else(|| Fault::new("a string has a wrong escape").at(start))
                    };
                    match chars.next() {
                        Some('\n') => {}
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some('r') => text.push('\r'),
                        Some('a') => text.push('\x07'),
                        Some('b') => text.push('\x08'),
                        Some('f') => text.push('\x0c'),
                        Some('v') => text.push('\x0b'),
                        Some('x') => text.push(hex(&mut chars, 2)?),
                        Some('u') => text.push(hex(&mut chars, 4)?),
                        Some('U') => text.push(hex(&mut chars, 8)?),
                        Some(digit @ '0'..='7') => {
                            let mut value = digit as u32 - 48;
                            for _ in 0..2 {
                                let Some(next) = chars.as_str().chars().next().and_then(|char| char.to_digit(8)) else { break };
                                value = value * 8 + next;
                                chars.next();
                            }
                            text.extend(char::from_u32(value));
                        }
                        Some(char @ ('\\' | '\'' | '"')) => text.push(char),
                        Some(other) => text.extend(['\\', other]),
                        None => return Err(Fault::new("a string is not closed").at(start)),
                    }
                }
                Some(char) => text.push(char),
            }
        }
        self.at = self.source.len() - chars.as_str().len();
        Ok(Kind::Str(text))
    }

    fn number(&mut self) -> Eval<Kind<'s>> {
        let (start, rest) = (self.at, self.rest());
        let wrong = || Fault::new("a number is malformed or too large").at(start);
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if rest.get(..2).is_some_and(|found| found.eq_ignore_ascii_case(prefix)) {
                let length = rest[2..].find(|char: char| char != '_' && !char.is_digit(radix)).unwrap_or(rest.len() - 2);
                self.at += 2 + length;
                return i128::from_str_radix(&rest[2..2 + length].replace('_', ""), radix).map(Kind::Int).map_err(|_| wrong());
            }
        }
        let digits = |from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            let length = tail.find(|char: char| char != '_' && !char.is_ascii_digit()).unwrap_or(tail.len());
            if tail.starts_with(|char: char| char.is_ascii_digit()) { length } else { 0 }
        };
        let whole = digits(0);
        let mut length = whole;
        if rest[length..].starts_with('.') && digits(length + 1) > 0 {
            length += 1 + digits(length + 1);
        }
        if rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(length + 1 + sign);
            if exponent > 0 {
                length += 1 + sign + exponent;
            }
        }
        self.at += length;
        let text = rest[..length].replace('_', "");
        if length == whole {
            text.parse().map(Kind::Int).map_err(|_| wrong())
        } else {
            text.parse().map(Kind::Float).map_err(|_| wrong())
        }
    }
}
