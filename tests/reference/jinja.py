"""Renders the templates of jinja.json with Jinja2 (3.1) in the environment of `transformers`, and writes the results there.

    python tests/reference/jinja.py

A new case is a line with its template: {"template": "..."}.
"""

import copy
import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """Marks what the model is trained on, and writes nothing."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception


def result(template: str, messages: list) -> dict:
    variables = {"messages": copy.deepcopy(messages), "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return {"ok": environment.from_string(template).render(bos_token="<s>", **variables)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


path = pathlib.Path(__file__).with_name("jinja.json")
data = json.loads(path.read_text())
cases = [{"template": case["template"], **result(case["template"], data["messages"])} for case in data["cases"]]
lines = ",\n".join(json.dumps(case) for case in cases)
path.write_text(f'{{\n"messages": {json.dumps(data["messages"])},\n"cases": [\n{lines}\n]\n}}\n')
