//! Chat templates come with model files, and models write answers: whatever they do, reading them ends in time, within
//! memory, and on a small stack.

#[path = "common/heap.rs"]
#[allow(dead_code)] // What this thread alone holds says nothing about templates.
mod heap;

use chord::chat::{Answer, Chat, RenderOptions, Template};
use chord::error::{Error, Result};
use std::thread;
use std::time::Duration;

/// The stack of a host's thread, and what parsing and rendering together may take of time and of memory.
const STACK: usize = 64 << 10;
const TIME: Duration = Duration::from_secs(5);
const MEMORY: usize = 256 << 20;

fn render(source: &str) -> Result<String> {
    let mut chat = Chat::new();
    chat.add("user", "Hi");
    Template::new(source)?.render(&chat, &RenderOptions { add_generation_prompt: true, now: Some(0) })
}

/// What this process has computed: on a busy machine clocks on walls say little.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Renders on a small stack with all limits checked.
fn bounded(source: String) -> Result<String> {
    limited(source, render)
}

/// Runs something with `source` on a small stack with all limits checked.
fn limited(source: String, run: fn(&str) -> Result<String>) -> Result<String> {
    let run = move || {
        let (mut result, mut time) = (Ok(String::new()), Duration::ZERO);
        let peak = heap::process_peak(|| {
            let start = processor_time();
            result = run(&source);
            time = processor_time() - start;
        });
        let shown: String = source.chars().take(80).collect();
        println!("{time:?}, {peak} bytes: {shown}");
        assert!(time < TIME, "{time:?} for {shown}");
        assert!(peak < MEMORY, "{peak} bytes for {shown}");
        result
    };
    thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread").join().expect("no panic")
}

/// The message with which a template is refused; a place in it is always known.
fn refused(source: impl Into<String>) -> String {
    let source = source.into();
    let len = source.len() as u64;
    match bounded(source) {
        Err(Error::Template { offset, message }) => {
            assert!(offset <= len, "offset {offset} of {len}: {message}");
            message
        }
        other => panic!("not refused: {:.80?}", other),
    }
}

#[test]
fn text_times_a_billion() {
    refused("{{ 'a' * 10**9 }}");
    refused("{{ ('a' * 10**6) * 10**6 }}");
    refused("{% set x = 1000000000 * 'ab' %}");
}

#[test]
fn text_doubled_again_and_again() {
    for double in [
        "ns.a ~ ns.a",
        "ns.a + ns.a",
        "[ns.a, ns.a] | join",
        "ns.a.replace('a', 'aa')",
        "ns.a | replace('', 'a')",
        "'%s%s' % (ns.a, ns.a)",
        "'{0}{0}'.format(ns.a)",
        "ns.a.join([ns.a, ns.a])",
        "(ns.a, ns.a) | string",
        "ns.a | tojson | tojson",
        "ns.a | escape | replace('a', '&&')",
        "ns.a | map('upper') | join('  ')",
    ] {
        let set = format!("{{% set ns.a = {double} %}}");
        refused(format!(
            "{{% set ns = namespace(a='ab') %}}{{% for i in range(60) %}}{set}{{% endfor %}}{{{{ ns.a | length }}}}"
        ));
    }
}

#[test]
fn lists_doubled_again_and_again() {
    refused("{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}");
    refused("{{ [0] * 10**9 }}");
    refused("{{ ([0] * 1000) * 10**6 }}");
}

#[test]
fn ranges_of_a_billion() {
    refused("{{ range(10**9) }}");
    refused("{% for i in range(10**9) %}{% endfor %}");
    refused("{{ range(10**9) | list | length }}");
}

#[test]
fn loops_in_loops() {
    refused("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}");
    refused("{% for i in range(10000) %}{% for j in range(10000) %}{{ 'xxxxxxxxxxxxxxxx' }}{% endfor %}{% endfor %}");
    refused("{% for i in range(10**5) %}{% for j in range(10**5) if j > 10**6 %}{% endfor %}{% endfor %}");
}

#[test]
fn output_without_end() {
    refused("{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}");
    refused("{% set a = 'x' * 100000 %}{% for i in range(100000) %}{{ a }}{% endfor %}");
    refused("{% filter upper %}{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}{% endfilter %}");
}

#[test]
fn padding() {
    for wide in [
        "'a' | center(10**9)",
        "'a\nb' | indent(10**9)",
        "'a'.ljust(10**9)",
        "'a'.zfill(10**9)",
        "'%1000000000d' % 1",
        "'{:1000000000}'.format(1)",
        "[1] | tojson(indent=10**9)",
        "[1] | batch(10**9, 'x')",
        "'%.999999999f' % 1",
    ] {
        let result = bounded(format!("{{{{ {wide} }}}}"));
        assert!(result.is_err() || result.is_ok_and(|text| text.len() < 4096), "{wide}");
    }
}

#[test]
fn macros_and_loops_that_call_themselves() {
    refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
    refused("{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}");
    refused("{% macro f() %}{% for i in [1] %}{% if true %}{{ f() | upper }}{% endif %}{% endfor %}{% endmacro %}{{ f() }}");
    refused("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}");
    refused("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}");
    refused("{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}");
    refused("{% macro f(x=f()) %}{% endmacro %}{{ f() }}");
}

#[test]
fn values_that_hold_values_that_hold_values() {
    refused("{% set ns = namespace(a=1) %}{% for i in range(100000) %}{% set ns.a = [ns.a] %}{% endfor %}");
    refused(
        "{% set ns = namespace(a=1) %}{% for i in range(100000) %}{% set ns.a = {'a': ns.a} %}{% endfor %}{{ ns.a | tojson }}",
    );
    refused("{% set ns = namespace(a=1) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}");
    refused(
        "{% set ns = namespace(a=1) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a == ns.a + [] }}",
    );
    // Namespaces alone can hold themselves.
    assert!(bounded("{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns.ns.ns is defined }}".to_owned()).is_ok());
    let chain = "{% set ns = namespace() %}{% for i in range(10000) %}{% set n = namespace(next=ns.last) %}{% set ns.last = n %}{% endfor %}";
    let _ = bounded(chain.to_owned());
}

#[test]
fn source_that_nests_without_end() {
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("[", "", "]"),
        ("{1:", "1", "}"),
        ("-", "1", ""),
        ("not ", "1", ""),
        ("f(", "", ")"),
        ("a[", "0", "]"),
        ("1 if ", "1", " else 1"),
        ("1 if 1 else ", "1", ""),
        ("2 ** ", "1", ""),
        ("1 + ", "1", ""),
        ("a is eq(", "1", ")"),
        ("a | f(", "1", ")"),
    ] {
        let source = format!("{{{{ {}{inner}{} }}}}", open.repeat(100_000), close.repeat(100_000));
        let _ = bounded(source);
        let _ = bounded(format!("{{{{ {}", open.repeat(100_000)));
        let _ = bounded(format!("{{{{ {}{inner}{} }}}}", open.repeat(30), close.repeat(30)));
    }
    for open in [
        "{% if 1 %}",
        "{% for i in [1] %}",
        "{% set a %}",
        "{% macro f() %}",
        "{% call f() %}",
        "{% with %}",
        "{% filter upper %}",
    ] {
        refused(open.repeat(100_000));
    }
    assert!(bounded(format!("{{{{ 1{} }}}}", ".a".repeat(100_000))).is_err());
    assert_eq!(bounded(format!("{{{{ 1{} }}}}", " + 1".repeat(10_000))).expect("a long sum is fine"), "10001");
    assert_eq!(
        bounded(format!("{{% if 0 %}}{}{{% else %}}x{{% endif %}}", "{% elif 0 %}".repeat(10_000))).expect("branches"),
        "x"
    );
}

#[test]
fn quadratic_work() {
    let names: String = (0..5000).map(|i| format!("{{% set v{i} = {i} %}}")).collect();
    let _ = bounded(names.repeat(20));
    refused("{% set ns = namespace(a='') %}{% for i in range(10**6) %}{% set ns.a = ns.a + 'x' %}{% endfor %}");
    refused("{% set ns = namespace(a='') %}{% for i in range(10**6) %}{% if 'y' in 'x' * 10000 %}{% endif %}{% endfor %}");
    let _ = bounded("{{ (range(10000) | list) | unique | list | length }}".to_owned());
    let _ = bounded("{% set a = range(10000) | list %}{% for i in a %}{% if -1 in a %}{% endif %}{% endfor %}".to_owned());
    let _ = bounded("{{ '{#' }}".repeat(1000) + &"{#".repeat(100_000));
    let _ = bounded("{% raw %}".to_owned() + &"{%".repeat(200_000));
    let _ = bounded("{{".repeat(100_000));
}

#[test]
fn files_and_other_templates() {
    for source in [
        "{% include 'chat' %}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{% extends '/etc/passwd' %}",
        "{% from 'chat' import x %}",
        "{{ open('/etc/passwd') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
    ] {
        refused(source);
    }
}

#[test]
fn an_ordinary_template_is_far_from_the_limits() {
    let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}";
    let mut chat = Chat::new();
    for _ in 0..2000 {
        chat.add("user", &"words ".repeat(500));
    }
    let mut text = String::new();
    let peak = heap::process_peak(|| {
        let template = Template::new(source).expect("a template");
        text = template.render(&chat, &RenderOptions::default()).expect("it renders");
    });
    assert_eq!(text.len(), 2000 * (8 + 3000));
    assert!(!cfg!(target_env = "gnu") || peak > text.len(), "{peak} bytes: nothing is counted");
}

/// Reads an answer, puts it into a conversation, and renders that.
fn answer(text: &str) -> Result<String> {
    let mut chat = Chat::new();
    let mut answer = Answer::new(&chat, "", "", Some("hermes"))?;
    answer.feed(text)?;
    answer.finish();
    assert_eq!(answer.raw(), text);
    assert!(answer.calls().len() == 1 || !answer.content().is_empty());
    chat.add_message(answer.message())?;
    Template::new("{{ messages | tojson }}")?.render(&chat, &RenderOptions::default())
}

#[test]
fn answers_of_any_shape() {
    let call = |depth: usize| {
        let (open, close) = ("{\"a\":[".repeat(depth), "]}".repeat(depth));
        format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"x\": {open}{close}}}}}</tool_call>")
    };
    for depth in [1, 8, 20, 25, 30, 1000, 100_000] {
        let text = limited(call(depth), answer).expect("it renders");
        assert_eq!(text.contains("tool_calls"), depth <= 25, "depth {depth}");
    }
    let huge = "x".repeat(1 << 20);
    for text in [
        "<tool_call>".repeat(100_000),
        "<tool_call>{\"a\":\"".to_owned() + &"</tool_call>".repeat(100_000),
        "<tool_call></tool_call>".repeat(50_000) + "x",
        "<think></think>".repeat(100_000) + "x",
        "<".repeat(1 << 20),
        " ".repeat(1 << 20) + "x",
        format!("<tool_call>f{}</tool_call>", "<arg_key>".repeat(100_000)),
        format!("<tool_call>f{}</tool_call>", "<arg_key>a</arg_key><arg_value>".repeat(50_000)),
        format!("<tool_call><function=f>{}</tool_call>", "<parameter=a>".repeat(100_000)),
        format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": \"{huge}\"}}}}</tool_call>"),
    ] {
        let _ = limited(text, answer);
    }
}
