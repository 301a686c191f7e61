use super::*;

/// One tool with an argument of each type.
fn chat() -> Chat {
    let mut chat = Chat::new();
    chat.add("user", "Hi");
    let properties = json!({ "text": { "type": "string" }, "count": { "type": "integer" }, "options": { "type": "object" } });
    let function = json!({ "name": "f", "parameters": { "type": "object", "properties": properties } });
    chat.set_tools(json!([{ "type": "function", "function": function }])).unwrap();
    chat
}

/// Content, reasoning, and calls as `name arguments`.
type Parts = (String, String, Vec<String>);

fn parts(answer: &Answer) -> Parts {
    let calls = answer.calls().iter().map(|call| format!("{} {}", call.name, call.arguments)).collect();
    (answer.content().to_owned(), answer.reasoning().to_owned(), calls)
}

/// What pieces of text make together.
fn read<'t>(format: &str, prompt: &str, pieces: impl IntoIterator<Item = &'t str>) -> Answer {
    let mut answer = Answer::new(&chat(), "", prompt, Some(format)).unwrap();
    for piece in pieces {
        let before = parts(&answer);
        answer.feed(piece).unwrap();
        let after = parts(&answer);
        assert!(after.0.starts_with(&before.0) && after.1.starts_with(&before.1) && after.2.starts_with(&before.2));
    }
    answer.finish();
    answer
}

/// Reads a text whole, in two pieces cut anywhere, and character by character: all must give the same.
fn check(format: &str, prompt: &str, text: &str, content: &str, reasoning: &str, calls: &[&str]) {
    let expected = (content.to_owned(), reasoning.to_owned(), calls.iter().map(ToString::to_string).collect());
    assert_eq!(parts(&read(format, prompt, [text])), expected, "{format}: {text}");
    let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    for &cut in &cuts {
        assert_eq!(parts(&read(format, prompt, [&text[..cut], &text[cut..]])), expected, "{format} cut at {cut}: {text}");
    }
    let ends = cuts.iter().skip(1).copied().chain([text.len()]);
    let pieces: Vec<&str> = cuts.iter().zip(ends).map(|(&from, to)| &text[from..to]).collect();
    let answer = read(format, prompt, pieces);
    assert_eq!(parts(&answer), expected, "{format} by characters: {text}");
    assert_eq!(answer.raw(), text);
    // What stops in the middle is read as far as it goes.
    for &cut in &cuts {
        let answer = read(format, prompt, [&text[..cut]]);
        assert_eq!(answer.raw(), &text[..cut]);
        assert!(calls.len() >= answer.calls().len() || !answer.content().is_empty());
    }
}

const CALL: &str = r#"f {"text":"a \"b\"","count":3,"options":{"x":[1,null]}}"#;

#[test]
fn every_format_is_read() {
    let arguments = r#"{"text": "a \"b\"", "count": 3, "options": {"x": [1, null]}}"#;
    let object = format!(r#"{{"name": "f", "arguments": {arguments}}}"#);
    let hermes = format!("<tool_call>\n{object}\n</tool_call>");
    check("hermes", "", &hermes, "", "", &[CALL]);
    check("hermes", "", &format!("Let me see.\n{hermes}\n{hermes}\n"), "Let me see.", "", &[CALL, CALL]);
    check("hermes", "", &format!("<think>\nWell.\n</think>\n\nSo:\n\n{hermes}"), "So:", "Well.", &[CALL]);
    check("hermes", "<|im_start|>assistant\n<think>\n", &format!("Well.\n</think>\n\n{hermes}Done."), "Done.", "Well.", &[CALL]);
    check(
        "hermes",
        "",
        "<tool_call>\n<function=f>\n<parameter=text>\na \"b\"\n</parameter>\n<parameter=count>\n3\n</parameter>\n<parameter=options>\n\
         {\"x\": [1, null]}\n</parameter>\n</function>\n</tool_call>",
        "",
        "",
        &[CALL],
    );
    check(
        "hermes",
        "",
        "<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>a \"b\"</arg_value>\n<arg_key>count</arg_key><arg_value>3</arg_value>\
         <arg_key>options</arg_key><arg_value>{\"x\": [1, null]}</arg_value></tool_call>",
        "",
        "",
        &[CALL],
    );
    let parameters = object.replace("arguments", "parameters");
    check("llama", "", &parameters, "", "", &[CALL]);
    check("llama", "", &format!("\n{parameters}; {parameters}"), "", "", &[CALL, CALL]);
    check("llama", "", &format!("<|python_tag|>{parameters}<|eom_id|>"), "", "", &[CALL]);
    check("mistral", "", &format!("[TOOL_CALLS][{object}, {object}]"), "", "", &[CALL, CALL]);
    check(
        "mistral",
        "",
        &format!("Now[TOOL_CALLS]f[ARGS]{arguments}[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{arguments}"),
        "Now",
        "",
        &[CALL, CALL],
    );
    check(
        "harmony",
        "<|start|>assistant",
        &format!(
            "<|channel|>analysis<|message|>Need f.<|end|><|start|>assistant<|channel|>commentary to=functions.f \
             <|constrain|>json<|message|>{arguments}<|call|>"
        ),
        "",
        "Need f.",
        &[CALL],
    );
    check(
        "harmony",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Simple.<|end|><|start|>assistant<|channel|>final<|message|>It is 4.",
        "It is 4.",
        "Simple.",
        &[],
    );
    check(
        "harmony",
        "<|start|>assistant",
        &format!(" to=functions.f<|channel|>commentary json<|message|>{arguments}"),
        "",
        "",
        &[CALL],
    );
    check(
        "deepseek",
        "<think>\n",
        &format!(
            "Hm.</think>I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{arguments}\n```<｜tool▁call▁end｜>\n\
             <｜tool▁call▁begin｜>f<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        "I look.",
        "Hm.",
        &[CALL, CALL],
    );
    check(
        "dsml",
        "",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"text\" string=\"true\">a \"b\"</｜DSML｜parameter>\n\
         <｜DSML｜parameter name=\"count\" string=\"false\">3</｜DSML｜parameter>\n<｜DSML｜parameter name=\"options\" \
         string=\"false\">{\"x\": [1, null]}</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "",
        "",
        &[CALL],
    );
    check(
        "kimi",
        "",
        &format!(
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{arguments}<|tool_call_end|><|tool_calls_section_end|>"
        ),
        "",
        "",
        &[CALL],
    );
    check(
        "lfm2",
        "",
        "<|tool_call_start|>[f(text='a \"b\"', count=3, options={'x': [1, None]})]<|tool_call_end|>Looking.",
        "Looking.",
        "",
        &[CALL],
    );
    check("gemma", "", "<|tool_call>call:f{text:<|\"|>a \"b\"<|\"|>,count:3,options:{x:[1,null]}}<tool_call|>", "", "", &[CALL]);
    check(
        "apertus",
        "",
        &format!(r#"<|inner_prefix|>Hm<|inner_suffix|><|tools_prefix|>[{{"f": {arguments}}}]<|tools_suffix|>"#),
        "",
        "Hm",
        &[CALL],
    );
    check("functionary", "assistant\n\n>>>", &format!("all\nNow.>>>f\n{arguments}"), "Now.", "", &[CALL]);
}

#[test]
fn what_is_no_call_stays_text() {
    for (format, text) in [
        ("hermes", "a <tool_call>nothing to see</tool_call> b"),
        ("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": 3}</tool_call>"),
        ("hermes", "2 < 3, <b>bold</b>, <tool, <<think, <tool_cal"),
        ("hermes", "<tool_call>{\"name\": \"f\", \"argum"),
        ("llama", "{\"name\": \"unknown\", \"parameters\": {}}"),
        ("llama", "{\"name\": \"f\", \"para"),
        ("llama", "{\"temperature\": 3}"),
        ("llama", " {"),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "x[TOOL_CALLS]f[ARGS]{\"a\": "),
        ("harmony", "<|channel|>final, I say"),
        ("lfm2", "<|tool_call_start|>[f(text='a)]<|tool_call_end|>"),
        ("gemma", "<|tool_call>call:f{text:3<tool_call|>"),
        ("functionary", ">>> print(1)\n1\n>>> "),
        ("minimax", "<invoke name=\"f\"><parameter name="),
    ] {
        check(format, "", text, text, "", &[]);
    }
    // Without tools JSON is an answer like any other.
    let text = "{\"name\": \"f\", \"parameters\": {}}";
    let mut answer = Answer::new(&Chat::new(), "", "", Some("llama")).unwrap();
    answer.feed(text).unwrap();
    assert_eq!(answer.content(), text);
}

#[test]
fn a_mark_within_a_text_of_json_ends_nothing() {
    let call = r#"f {"text":"</tool_call> and <tool_call>","count":1}"#;
    let text = r#"<tool_call>{"name": "f", "arguments": {"text": "</tool_call> and <tool_call>", "count": 1}}</tool_call>"#;
    check("hermes", "", text, "", "", &[call]);
    check("mistral", "", r#"[TOOL_CALLS]f[ARGS]{"text": "[TOOL_CALLS]"} ok"#, "ok", "", &[r#"f {"text":"[TOOL_CALLS]"}"#]);
}

#[test]
fn schemas_decide_what_bare_arguments_are() {
    let text = "<tool_call>f<arg_key>text</arg_key><arg_value>12</arg_value><arg_key>count</arg_key><arg_value>12</arg_value>\
                <arg_key>other</arg_key><arg_value>true</arg_value><arg_key>more</arg_key><arg_value>yes</arg_value></tool_call>";
    check("hermes", "", text, "", "", &[r#"f {"text":"12","count":12,"other":true,"more":"yes"}"#]);
}

#[test]
fn templates_show_their_format() {
    let names = |source: &str| -> Vec<&str> {
        format::detect(source).iter().map(|format| format.name).filter(|name| !name.is_empty()).collect()
    };
    assert_eq!(names("{{ '<tool_call>' }}"), ["hermes"]);
    assert_eq!(names("no calls"), Vec::<&str>::new());
    assert_eq!(names("'<|start|>assistant<|channel|>final<|message|>'"), ["harmony"]);
    let error = Answer::new(&Chat::new(), "", "", Some("xyz")).unwrap_err().to_string();
    assert!(error.contains("xyz") && error.contains("hermes"), "{error}");
}

#[test]
fn no_mark_begins_another() {
    let marks: Vec<_> = format::FORMATS.iter().flat_map(|format| format.marks).map(|(mark, _)| mark).collect();
    for mark in &marks {
        assert!(marks.iter().all(|other| mark == other || !other.starts_with(**mark)), "{mark}");
    }
}

#[test]
fn messages_go_back_into_the_conversation() {
    let mut chat = chat();
    let text = "<think>t</think>c<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    for id in ["call00000", "call00001"] {
        let mut answer = Answer::new(&chat, "", "", Some("hermes")).unwrap();
        answer.feed(text).unwrap();
        answer.finish();
        answer.finish();
        assert!(answer.feed("more").is_err());
        assert_eq!(answer.calls()[0].id, id);
        let message = answer.message();
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("c"), &json!("t")));
        assert_eq!(message["tool_calls"][0]["function"], json!({ "name": "f", "arguments": "{}" }));
        chat.add_message(message).unwrap();
        assert_eq!(chat.messages().last().unwrap()["tool_calls"][0]["function"]["arguments"], json!({}));
    }
}

/// Random strings of what the formats are made of: nothing panics, and pieces do not matter.
#[test]
fn any_text_is_read_the_same_in_any_pieces() {
    let mut alphabet: Vec<&str> = format::FORMATS.iter().flat_map(|format| format.marks).map(|(mark, _)| *mark).collect();
    alphabet.extend([
        "</tool_call>",
        "</think>",
        "<|message|>",
        "[ARGS]",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ":",
        ",",
        " ",
        "\n",
        "f",
    ]);
    alphabet.extend(["{\"name\": \"f\", \"arguments\": {\"text\": \"é\"}}", "analysis", " to=functions.f", "f(text='é')", "é"]);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for format in format::FORMATS.iter().filter(|format| !format.name.is_empty()) {
        for _ in 0..100 {
            let text: String = (0..random(24)).map(|_| alphabet[random(alphabet.len())]).collect();
            let own = format.marks.iter().map(|(mark, _)| *mark);
            let text = own.take(1).collect::<String>() + &text;
            let whole = read(format.name, "", [text.as_str()]);
            let pieces = text.split_inclusive(|_: char| random(3) == 0);
            let pieces: Vec<&str> = pieces.collect();
            assert_eq!(parts(&read(format.name, "", pieces)), parts(&whole), "{}: {text}", format.name);
            assert_eq!(whole.raw(), text);
        }
    }
}

#[test]
fn overlap_is_the_longest_possible_beginning() {
    assert_eq!(overlap("ab\n", "\n\n"), 1);
    assert_eq!(overlap("aab", "aabaa"), 3);
    assert_eq!(overlap("xaa", "aab"), 2);
    assert_eq!(overlap("x", "yz"), 0);
    assert_eq!(overlap("", "yz"), 0);
    assert_eq!(overlap("ü", "üü"), 2);
}
