//! The formats of answers: which marks models put around reasoning and calls, as their templates show.

use crate::error::{Error, Result};

/// What a mark in an answer means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// Reasoning up to this mark.
    Reasoning(&'static str),
    /// A call, up to this mark or, without one, to the next mark of any kind.
    Call(Option<&'static str>, Syntax),
    /// A line that says what follows, up to this mark: `analysis`, `final`, `to=functions.NAME`.
    Header(&'static str),
    /// Nothing: structure around other marks, and the ends of messages.
    Nothing,
}

/// How a call is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Syntax {
    /// An object with a name and arguments, or several, or a list of them.
    Json,
    /// JSON, or one of the ways with tags of their own: `<function=NAME><parameter=KEY>VALUE</parameter></function>`,
    /// `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>`.
    Tagged,
    /// Elements with the arguments behind a quoted name.
    Elements(&'static Elements),
    /// The name in front of this mark, arguments in JSON behind it; DeepSeek's older templates have `function` in front, and
    /// behind it the name and a code block.
    Named(&'static str),
    /// JSON, or `NAME[ARGS]{...}`, or `NAME[CALL_ID]ID[ARGS]{...}`.
    Mistral,
    /// A list of calls in Python.
    Python,
    /// `call:NAME{KEY:VALUE}`, with `<|"|>` for quotes.
    Gemma,
    /// Arguments in JSON; the name was in the header.
    Arguments,
}

/// The elements around the name and the arguments of a call.
#[derive(Debug)]
pub(super) struct Elements {
    /// Before the name, which goes up to a quote.
    pub(super) name: &'static str,
    /// Before the key, which goes up to a quote.
    pub(super) key: &'static str,
    /// Between key and value.
    pub(super) value: &'static str,
    /// Behind the value.
    pub(super) end: &'static str,
}

const fn elements(key: &'static str, end: &'static str) -> Elements {
    Elements { name: "", key, value: ">", end }
}

static PARAMETERS: Elements = elements("<parameter name=\"", "</parameter>");
static DSML_PARAMETERS: Elements = elements("<\u{ff5c}DSML\u{ff5c}parameter name=\"", "</\u{ff5c}DSML\u{ff5c}parameter>");
static ATEM_PARAMETERS: Elements = elements("<atem:parameter name=\"", "</atem:parameter>");
static PARAMS: Elements = elements("<param name=\"", "</param>");
static K3_ARGUMENTS: Elements =
    Elements { name: "tool=\"", key: "<|open|>argument key=\"", value: "<|sep|>", end: "<|close|>argument<|sep|>" };

/// One format.
pub(super) struct Format {
    /// By which callers choose it.
    pub(super) name: &'static str,
    /// A template that has one of these texts writes the format.
    pub(super) signs: &'static [&'static str],
    /// The marks and their meaning. None begins another.
    pub(super) marks: &'static [(&'static str, Effect)],
}

impl Format {
    /// Whether calls have no mark: an answer that begins as the JSON of one may be one.
    pub(super) fn is_bare(&self) -> bool {
        self.name == "llama"
    }

    fn is_reasoning(&self) -> bool {
        self.name.is_empty()
    }
}

const fn call(close: &'static str, syntax: Syntax) -> Effect {
    Effect::Call(Some(close), syntax)
}

/// All formats; those without a name are ways of reasoning, which go with any other.
pub(super) static FORMATS: &[Format] = &[
    Format { name: "hermes", signs: &["<tool_call>"], marks: &[("<tool_call>", call("</tool_call>", Syntax::Tagged))] },
    Format {
        name: "seed",
        signs: &["<seed:tool_call>"],
        marks: &[("<seed:tool_call>", call("</seed:tool_call>", Syntax::Tagged))],
    },
    Format {
        name: "llama",
        signs: &["{\"name\": function name, \"parameters\": dictionary", "<|python_tag|>"],
        marks: &[("<|python_tag|>", Effect::Call(None, Syntax::Json)), ("<|eom_id|>", Effect::Nothing)],
    },
    Format { name: "mistral", signs: &["[TOOL_CALLS]"], marks: &[("[TOOL_CALLS]", Effect::Call(None, Syntax::Mistral))] },
    Format {
        name: "harmony",
        signs: &["<|message|>"],
        marks: &[
            ("<|start|>", Effect::Header("<|message|>")),
            ("<|channel|>", Effect::Header("<|message|>")),
            ("<|end|>", Effect::Nothing),
            ("<|call|>", Effect::Nothing),
            ("<|return|>", Effect::Nothing),
            ("<|eom|>", Effect::Nothing),
            ("<|eot|>", Effect::Nothing),
        ],
    },
    Format {
        name: "deepseek",
        signs: &["<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>"],
        marks: &[
            (
                "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>",
                call("<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>", Syntax::Named("<\u{ff5c}tool\u{2581}sep\u{ff5c}>")),
            ),
            ("<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>", Effect::Nothing),
            ("<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>", Effect::Nothing),
        ],
    },
    Format {
        name: "dsml",
        signs: &["<\u{ff5c}DSML\u{ff5c}invoke", "\u{ff5c}DSML\u{ff5c}"],
        marks: &[
            ("<\u{ff5c}DSML\u{ff5c}invoke name=\"", call("</\u{ff5c}DSML\u{ff5c}invoke>", Syntax::Elements(&DSML_PARAMETERS))),
            ("<\u{ff5c}DSML\u{ff5c}function_calls>", Effect::Nothing),
            ("</\u{ff5c}DSML\u{ff5c}function_calls>", Effect::Nothing),
            ("<\u{ff5c}DSML\u{ff5c}tool_calls>", Effect::Nothing),
            ("</\u{ff5c}DSML\u{ff5c}tool_calls>", Effect::Nothing),
        ],
    },
    Format {
        name: "minimax",
        signs: &["<minimax:tool_call>"],
        marks: &[
            ("<invoke name=\"", call("</invoke>", Syntax::Elements(&PARAMETERS))),
            ("<minimax:tool_call>", Effect::Nothing),
            ("</minimax:tool_call>", Effect::Nothing),
        ],
    },
    Format {
        name: "atem",
        signs: &["<atem:invoke"],
        marks: &[
            ("<atem:invoke name=\"", call("</atem:invoke>", Syntax::Elements(&ATEM_PARAMETERS))),
            ("<atem:function_calls>", Effect::Nothing),
            ("</atem:function_calls>", Effect::Nothing),
        ],
    },
    Format {
        name: "minicpm",
        signs: &["<param name="],
        marks: &[("<function name=\"", call("</function>", Syntax::Elements(&PARAMS)))],
    },
    Format {
        name: "kimi",
        signs: &["<|tool_call_begin|>"],
        marks: &[
            ("<|tool_call_begin|>", call("<|tool_call_end|>", Syntax::Named("<|tool_call_argument_begin|>"))),
            ("<|tool_calls_section_begin|>", Effect::Nothing),
            ("<|tool_calls_section_end|>", Effect::Nothing),
        ],
    },
    Format {
        name: "kimi-k3",
        signs: &["<|open|>"],
        marks: &[
            ("<|open|>call ", call("<|close|>call<|sep|>", Syntax::Elements(&K3_ARGUMENTS))),
            ("<|open|>think<|sep|>", Effect::Reasoning("<|close|>think<|sep|>")),
            ("<|open|>tools<|sep|>", Effect::Nothing),
            ("<|close|>tools<|sep|>", Effect::Nothing),
            ("<|open|>response<|sep|>", Effect::Nothing),
            ("<|close|>response<|sep|>", Effect::Nothing),
            ("<|close|>message<|sep|>", Effect::Nothing),
            ("<|end_of_msg|>", Effect::Nothing),
        ],
    },
    Format {
        name: "hunyuan",
        signs: &["<tool_call:opensource>", "':opensource'"],
        marks: &[
            ("<tool_call:opensource>", call("</tool_call:opensource>", Syntax::Tagged)),
            ("<tool_calls:opensource>", Effect::Nothing),
            ("</tool_calls:opensource>", Effect::Nothing),
            ("<think:opensource>", Effect::Reasoning("</think:opensource>")),
        ],
    },
    Format { name: "nemotron", signs: &["<TOOLCALL>"], marks: &[("<TOOLCALL>", call("</TOOLCALL>", Syntax::Json))] },
    Format {
        name: "cohere",
        signs: &["<|START_ACTION|>"],
        marks: &[
            ("<|START_ACTION|>", call("<|END_ACTION|>", Syntax::Json)),
            ("<|START_RESPONSE|>", Effect::Nothing),
            ("<|END_RESPONSE|>", Effect::Nothing),
            ("<|START_TEXT|>", Effect::Nothing),
            ("<|END_TEXT|>", Effect::Nothing),
        ],
    },
    Format {
        name: "apertus",
        signs: &["<|tools_prefix|>"],
        marks: &[("<|tools_prefix|>", call("<|tools_suffix|>", Syntax::Json))],
    },
    Format {
        name: "gigachat",
        signs: &["<|function_call|>"],
        marks: &[("<|function_call|>", Effect::Call(None, Syntax::Json)), ("<|message_sep|>", Effect::Nothing)],
    },
    Format {
        name: "granite",
        signs: &["<|tool_call|>"],
        marks: &[("<|tool_call|>", Effect::Call(None, Syntax::Json)), ("<|/tool_call|>", Effect::Nothing)],
    },
    Format {
        name: "lfm2",
        signs: &["<|tool_call_start|>"],
        marks: &[("<|tool_call_start|>", call("<|tool_call_end|>", Syntax::Python))],
    },
    Format {
        name: "gemma",
        signs: &["<|tool_call>"],
        marks: &[("<|tool_call>", call("<tool_call|>", Syntax::Gemma)), ("<|channel>thought\n", Effect::Reasoning("<channel|>"))],
    },
    Format { name: "functionary", signs: &[">>>${recipient}"], marks: &[(">>>", Effect::Header("\n"))] },
    // Models reason in these tags whether or not their template speaks of them.
    Format { name: "", signs: &[""], marks: &[("<think>", Effect::Reasoning("</think>"))] },
    Format { name: "", signs: &["<seed:think>"], marks: &[("<seed:think>", Effect::Reasoning("</seed:think>"))] },
    Format { name: "", signs: &["[THINK]"], marks: &[("[THINK]", Effect::Reasoning("[/THINK]"))] },
    Format { name: "", signs: &["<|START_THINKING|>"], marks: &[("<|START_THINKING|>", Effect::Reasoning("<|END_THINKING|>"))] },
    Format { name: "", signs: &["<|inner_prefix|>"], marks: &[("<|inner_prefix|>", Effect::Reasoning("<|inner_suffix|>"))] },
];

/// The formats that a template's source shows.
pub(super) fn detect(source: &str) -> Vec<&'static Format> {
    FORMATS.iter().filter(|format| format.signs.iter().any(|sign| source.contains(sign))).collect()
}

/// A format by its name, and all ways of reasoning.
///
/// # Errors
/// An unknown name; the message lists the known ones.
pub(super) fn named(name: &str) -> Result<Vec<&'static Format>> {
    let known = || FORMATS.iter().filter(|format| !format.is_reasoning());
    if !known().any(|format| format.name == name) {
        let names: Vec<_> = known().map(|format| format.name).collect();
        return Err(Error::InvalidArgument(format!("unknown answer format {name}: known are {}", names.join(", "))));
    }
    Ok(FORMATS.iter().filter(|format| format.name == name || format.is_reasoning()).collect())
}
