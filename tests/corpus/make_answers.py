"""Writes answers.json: answers as small models really give them, and what should become of each.

    python tests/corpus/make_answers.py

`form`: config or code. `expect`: "same" for the change that was meant ({"depth": 4}, or WIDTH 96), "refused" for a
refusal with a reason, "any" where both are right. Add answers; do not take any away.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from proposer_requests import TRAIN  # noqa: E402

GOOD = '{"title": "t", "rationale": "r", "changes": {"depth": 4}}'
FIND, REPLACE = "WIDTH = 64", "WIDTH = 96"
BLOCK = f"<<<<<<< SEARCH\n{FIND}\n=======\n{REPLACE}\n>>>>>>> REPLACE\n"
WIDER = TRAIN.replace(FIND, REPLACE)
HUNK = f"@@ -3 +3 @@\n-{FIND}\n+{REPLACE}\n"

CONFIG_SAME = {
    "plain": GOOD,
    "fenced": f"```json\n{GOOD}\n```",
    "fence never closed": f"```json\n{GOOD}",
    "fence of another language": f"```python\n{GOOD}\n```",
    "prose around": f"Sure! Here is my next experiment:\n\n{GOOD}\n\nLet me know how it goes {{really}}!",
    "thinking before": f'<think>\nmaybe {{"changes": {{"depth": 7}}}}?\n</think>\n{GOOD}',
    "thinking without its opening tag": f'I could try depth 7: {{"changes": {{"depth": 7}}}}\n</think>\n\n{GOOD}',
    "thinking in capitals": f'<THINKING>{{"changes": {{"depth": 7}}}}</THINKING>{GOOD}',
    "channels": f'<|channel|>analysis<|message|>{{"changes": {{"depth": 7}}}}<|end|><|channel|>final<|message|>{GOOD}',
    "trailing comma": '{"title": "t", "rationale": "r", "changes": {"depth": 4,},}',
    "missing comma": '{"title": "t"\n "rationale": "r"\n "changes": {"depth": 4}}',
    "python dict": "{'title': 't', 'rationale': 'r', 'changes': {'depth': 4}}",
    "python constants": "{'title': 't', 'rationale': None, 'done': True, 'changes': {'depth': 4}}",
    "unquoted keys": '{title: "t", rationale: "r", changes: {depth: 4}}',
    "smart quotes": "{\u201ctitle\u201d: \u201ct\u201d, \u201cchanges\u201d: {\u201cdepth\u201d: 4}}",
    "single smart quotes": "{\u2018title\u2019: \u2018t\u2019, \u2018changes\u2019: {\u2018depth\u2019: 4}}",
    "backticks": "{`title`: `t`, `changes`: {`depth`: 4}}",
    "comments": '{"title": "t", // short\n /* the change */ "changes": {"depth": 4} # deeper\n}',
    "quotes in a string": '{"title": "the "deep" one", "rationale": "r", "changes": {"depth": 4}}',
    "apostrophe in single quotes": "{'title': 'it's deeper', 'changes': {'depth': 4}}",
    "line break in a string": '{"title": "t", "rationale": "first\nsecond", "changes": {"depth": 4}}',
    "bad escape": '{"title": "a\\_b", "rationale": "c:\\d", "changes": {"depth": 4}}',
    "number as text": '{"title": "t", "changes": {"depth": "4"}}',
    "number as float": '{"title": "t", "changes": {"depth": 4.0}}',
    "plus sign": '{"title": "t", "changes": {"depth": +4}}',
    "arrow": '{"title": "t", "changes": {"depth": "2 -> 4"}}',
    "from and to": '{"title": "t", "changes": {"depth": {"from": 2, "to": 4}}}',
    "value object": '{"title": "t", "changes": {"depth": {"value": 4, "why": "deeper"}}}',
    "changes as a list": '{"title": "t", "changes": [{"setting": "depth", "value": 4}]}',
    "changes as a list of pairs": '{"title": "t", "changes": [{"depth": 4}]}',
    "changes called config": '{"title": "t", "config": {"depth": 4}}',
    "changes called parameters": '{"name": "t", "why": "r", "parameters": {"depth": 4}}',
    "flat": '{"title": "t", "rationale": "r", "depth": 4}',
    "only the change": '{"depth": 4}',
    "capitals in a key": '{"title": "t", "Changes": {"Depth": 4}}',
    "prefixed setting": '{"title": "t", "changes": {"config.depth": 4}}',
    "wrapped": f'{{"answer": {GOOD}}}',
    "wrapped twice": f'{{"response": {{"proposal": {GOOD}}}}}',
    "list of one": f"[{GOOD}]",
    "several, the first counts": GOOD + '\n{"title": "u", "changes": {"depth": 5}}',
    "an example first": f'{{"setting": "value"}}\n{GOOD}',
    "not JSON first": f"{{not json}} {GOOD}",
    "closing bracket missing": GOOD[:-1],
    "both brackets missing": '{"changes": {"depth": 4, "title": "t"',
    "cut in the rationale": '{"title": "t", "changes": {"depth": 4}, "rationale": "because deeper mod',
    "byte order mark": f"\ufeff{GOOD}",
    "zero width space": f"\u200b{GOOD}\u200b",
    "no-break spaces": GOOD.replace(" ", "\u00a0"),
    "emoji": f"\U0001f680\U0001f680 {GOOD} \U0001f680",
    "markdown heading": f"## Proposal\n\n**Title**: deeper\n\n{GOOD}",
    "carriage returns": GOOD.replace(", ", ",\r\n"),
    "tabs": GOOD.replace(" ", "\t"),
    "kind code but asked for settings": '{"kind": "config", "edits": [], "changes": {"depth": 4}}',
    "semicolons": '{"title": "t"; "changes": {"depth": 4}}',
    "equals signs": '{"title" = "t", "changes" = {"depth" = 4}}',
    "triple quotes": '{"title": """t""", "changes": {"depth": 4}}',
    "tool call": f'<tool_call>\n{{"name": "propose", "arguments": {GOOD}}}\n</tool_call>',
    "an unknown key more": '{"title": "t", "confidence": 0.9, "changes": {"depth": 4}, "next_steps": ["a", "b"]}',
}
CONFIG_REFUSED = {
    "empty": "",
    "white space": " \n\t ",
    "refusal": "I'm sorry, but I can't help with that.",
    "prose only": "I would increase the depth to 4, because deeper models learn more.",
    "only thinking": "<think>The user wants an experiment. Let me think about depth",
    "null": "null",
    "a number": "42",
    "an empty object": "{}",
    "an empty change": '{"title": "t", "changes": {}}',
    "an unknown setting": '{"title": "t", "changes": {"layers": 4}}',
    "out of range": '{"title": "t", "changes": {"depth": 400}}',
    "not a number": '{"title": "t", "changes": {"depth": "deep"}}',
    "NaN": '{"title": "t", "changes": {"depth": NaN}}',
    "infinite": '{"title": "t", "changes": {"learning_rate": 1e999}}',
    "null change": '{"title": "t", "changes": {"depth": null}}',
    "list as a value": '{"title": "t", "changes": {"depth": [2, 4, 8]}}',
    "thousands of digits": '{"title": "t", "changes": {"depth": ' + "9" * 5000 + "}}",
    "cut in a value": '{"title": "t", "changes": {"depth":',
    "cut in a number": '{"title": "t", "changes": {"learning_rate": 0.00',
    "cut in a key": '{"title": "t", "cha',
    "braces": "{" * 5000,
    "nested": '{"a":' * 5000,
    "brackets": "[" * 20000,
    "huge": "deeper " * 60000,
    "repetition": '{"title": "t", "rationale": "' + "and deeper " * 2000,
    "binary": "\x00\x01\x02\ufffd\ufffd" * 200,
    "html": "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "xml": "<changes><depth>4</depth></changes>",
    "yaml": "title: t\nchanges:\n  depth: four\n",
    "another object": '{"role": "assistant", "content": "ok"}',
    "a schema": '{"type": "object", "properties": {"changes": {"type": "object"}}}',
    "lone surrogate": '{"title": "\\ud800", "changes": {"depth": 99}}',
    "the template itself": '{"title": "...", "rationale": "...", "changes": {"setting": value}}',
    "code where settings were asked for": BLOCK,
    "edits where settings were asked for": json.dumps({"edits": [{"find": FIND, "replace": REPLACE}]}),
    "unicode digits": '{"changes": {"depth": "\u2463"}}',
}
CODE_SAME = {
    "block": BLOCK,
    "block with title": f"title: wider\nrationale: it helps\n{BLOCK}",
    "fenced block": f"```python\n{BLOCK}```",
    "fence inside": f"<<<<<<< SEARCH\n```python\n{FIND}\n```\n=======\n```python\n{REPLACE}\n```\n>>>>>>> REPLACE",
    "file name before": f"train.py\n```\n{BLOCK}```",
    "fewer marks": f"<<<<<< SEARCH\n{FIND}\n=====\n{REPLACE}\n>>>>>> REPLACE",
    "more marks": f"<<<<<<<< SEARCH\n{FIND}\n========\n{REPLACE}\n>>>>>>>> REPLACE",
    "other words": f"<<<<<<< ORIGINAL\n{FIND}\n=======\n{REPLACE}\n>>>>>>> UPDATED",
    "like a conflict": f"<<<<<<< HEAD\n{FIND}\n=======\n{REPLACE}\n>>>>>>> branch",
    "indented marks": f"  <<<<<<< SEARCH\n{FIND}\n  =======\n{REPLACE}\n  >>>>>>> REPLACE",
    "marks without words": f"<<<<<<<\n{FIND}\n=======\n{REPLACE}\n>>>>>>>",
    "closed by the fence": f"```\n<<<<<<< SEARCH\n{FIND}\n=======\n{REPLACE}\n```",
    "wrong indentation": f"<<<<<<< SEARCH\n    {FIND}\n=======\n    {REPLACE}\n>>>>>>> REPLACE",
    "space at line ends": f"<<<<<<< SEARCH\n{FIND}   \n=======\n{REPLACE}\n>>>>>>> REPLACE",
    "blank lines around": f"<<<<<<< SEARCH\n\n{FIND}\n\n=======\n\n{REPLACE}\n\n>>>>>>> REPLACE",
    "thinking before": f"<think>\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n</think>\n{BLOCK}",
    "JSON edits": json.dumps({"kind": "code", "edits": [{"find": FIND, "replace": REPLACE}]}),
    "JSON edits in other words": json.dumps({"patches": [{"search": FIND, "new": REPLACE}]}),
    "JSON edit alone": json.dumps({"edit": {"old_str": FIND, "new_str": REPLACE}}),
    "JSON edits as a block": json.dumps({"edits": [BLOCK]}),
    "JSON with lines": json.dumps({"edits": [{"find": [FIND], "replace": [REPLACE]}]}),
    "python dict": str({"edits": [{"find": FIND, "replace": REPLACE}]}),
    "raw line break in JSON": f'{{"edits": [{{"find": "{FIND}\n", "replace": "{REPLACE}\n"}}]}}',
    "diff": f"```diff\n--- a/train.py\n+++ b/train.py\n@@ -1,3 +1,3 @@\n \n-{FIND}\n+{REPLACE}\n \n```",
    "diff without numbers": f"@@ @@\n-{FIND}\n+{REPLACE}\n",
    "whole file": f"Here it is:\n```python\n{WIDER}```\n",
    "whole file, other fence": f"~~~python\n{WIDER}~~~",
    "diff as git writes it": f"diff --git a/train.py b/train.py\nindex 1..2\n--- a/train.py\n+++ b/train.py\n{HUNK}",
    "diff with times": f"--- experiments/train.py\t2026-01-01\n+++ experiments/train.py\t2026-01-02\n{HUNK}",
    "path before": f"**./train.py**\n{BLOCK}",
    "JSON edits with their file": json.dumps({"edits": [{"path": "train.py", "find": FIND, "replace": REPLACE}]}),
    "carriage returns": BLOCK.replace("\n", "\r\n"),
}
CODE_REFUSED = {
    "diff of another file": f"--- a/node/evaluator.py\n+++ b/node/evaluator.py\n{HUNK}",
    "diff of two files": f"--- a/train.py\n+++ b/train.py\n{HUNK}--- a/warm.py\n+++ b/warm.py\n{HUNK}",
    "diff that makes a file": f"--- a/train.py\n+++ b/train.py\n{HUNK}--- /dev/null\n+++ b/n.py\n@@ @@\n+pass\n",
    "diff that deletes a file": "--- a/warm.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-import os\n",
    "block of another file": f"../node/evaluator.py\n```python\n{BLOCK}```",
    "blocks of two files": f"train.py\n{BLOCK}\nconfig.json\n{BLOCK}",
    "JSON edits of another file": json.dumps({"edits": [{"file": "/etc/passwd", "find": FIND, "replace": REPLACE}]}),
    "not there": BLOCK.replace(FIND, "HEIGHT = 64"),
    "there twice": "<<<<<<< SEARCH\n\n\n=======\nx\n>>>>>>> REPLACE",
    "empty find": f"<<<<<<< SEARCH\n=======\n{REPLACE}\n>>>>>>> REPLACE",
    "half a block": f"<<<<<<< SEARCH\n{FIND}\n=======\nWID",
    "no middle": f"<<<<<<< SEARCH\n{FIND}\n>>>>>>> REPLACE",
    "changes nothing": BLOCK.replace(REPLACE, FIND),
    "bad syntax": BLOCK.replace(REPLACE, "WIDTH = (96"),
    "wrong indentation inside": BLOCK.replace(REPLACE, "    WIDTH = 96"),
    "elided code": "```python\n# ... rest of the file stays the same ...\nWIDTH = 96\n```",
    "other letters": BLOCK.replace(REPLACE, "W\u0130DTH = 96"),
    "no main": '<<<<<<< SEARCH\nif __name__ == "__main__":\n    main()\n=======\nmain()\n>>>>>>> REPLACE',
    "no build_model": BLOCK.replace(FIND, "def build_model").replace(REPLACE, "def make_model"),
    "edit without replace": json.dumps({"kind": "code", "edits": [{"find": FIND}]}),
    "edits as numbers": json.dumps({"kind": "code", "edits": [1, 2]}),
    "hundred edits": json.dumps({"kind": "code", "edits": [{"find": FIND, "replace": REPLACE}] * 100}),
    "prose": "Make WIDTH larger.",
    "empty": "",
    "huge": BLOCK.replace(REPLACE, "# x\n" * 20000),
    "null bytes": BLOCK.replace(REPLACE, "WIDTH = 96\x00"),
    "file cut off": f"```python\n{WIDER[:-30]}",
    "a shell command": "```bash\nsed -i 's/64/96/' train.py\n```",
    "nested beyond sense": BLOCK.replace(REPLACE, "WIDTH = " + "(" * 5000),
}


def main() -> None:
    cases = [
        {"name": name, "form": form, "expect": expect, "text": text}
        for form, expect, found in (
            ("config", "same", CONFIG_SAME),
            ("config", "refused", CONFIG_REFUSED),
            ("code", "same", CODE_SAME),
            ("code", "refused", CODE_REFUSED),
        )
        for name, text in found.items()
    ]
    path = Path(__file__).with_name("answers.json")
    path.write_text(json.dumps(cases, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
