"""The lint rules: each finds the mistake that it is for, and none complains of what is exported."""

from __future__ import annotations

import pytest

from mtquant_jax.deploy.mql5.compiled import template
from mtquant_jax.deploy.mql5.export import FIXED
from mtquant_jax.deploy.mql5.lint import RULES, code_of, findings

RATES = """void F() {
   MqlRates bars[];
   ArraySetAsSeries(bars, false);
   if(CopyRates(_Symbol, PERIOD_H1, %s, bars) < 0) return;
}
"""
MODEL = """long Model;
bool Open() {
   Model = OnnxCreateFromBuffer(Bytes, ONNX_DEFAULT);
   const long shape[] = {1, 4};
   return OnnxSetInputShape(Model, 0, shape) && OnnxSetOutputShape(Model, 0, shape);
}
void Close() { OnnxRelease(Model); }
"""
ORDER = """bool Send() {
   MqlTradeRequest request;
   MqlTradeCheckResult checked;
   MqlTradeResult result;
   request.magic = 7;
   request.volume = lots;
   request.type_filling = FillingOf(_Symbol);
   if(!OrderCheck(request, checked)) return false;
   return OrderSend(request, result);
}
"""
BROKEN = {
    "encoding": ["\ufeffint x;\n", "// Größe\nint x;\n"],
    "unfinished-bar": [RATES % "0, 100", "void F() { double now = iClose(_Symbol, PERIOD_H1, 0); }\n"],
    "series": [RATES.replace("   ArraySetAsSeries(bars, false);\n", "") % "1, 100"],
    "onnx": [
        MODEL.replace("OnnxRelease(Model);", ""),
        MODEL.replace("OnnxSetInputShape(Model, 0, shape) && ", ""),
        MODEL.replace(" && OnnxSetOutputShape(Model, 0, shape)", ""),
    ],
    "unchecked": [
        "void F() {\n   OnnxRun(Model, 0, in, out);\n}\n",
        "void F() {\n   FileMove(a, 0, b, FILE_REWRITE);\n}\n",
        "bool F() {\n   OrderCheck(request, checked);\n   return true;\n}\n",
        "bool F() {\n   if(!OrderCheck(a, b)) return false;\n   OrderSend(a, c);\n   return true;\n}\n",
    ],
    "order-without-check": [ORDER.replace("   if(!OrderCheck(request, checked)) return false;\n", "")],
    "credentials": ['input string InpPassword = "";\n', 'input string InpApiKey = "";\n'],
    "float-equality": [
        "bool F() { return value == GOLDEN_ACTION[0]; }\n",
        "bool F() { return GOLDEN_ACTION[i] != value; }\n",
        "bool F() { return MathAbs(a - b) < DBL_EPSILON; }\n",
    ],
    "endless-loop": ["void F() { while(true) Sleep(1); }\n"],
    "magic": [ORDER.replace("   request.magic = 7;\n", "")],
    "filling": [ORDER.replace("FillingOf(_Symbol)", "ORDER_FILLING_FOK")],
    "lots": [ORDER.replace("request.volume = lots", "request.volume = 0.01")],
    "braces": ["void F() {\n   if(a) {\n}\n", "void F() { } }\n"],
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_finds_its_mistake(rule: str) -> None:
    assert BROKEN[rule]
    for text in BROKEN[rule]:
        assert rule in {finding.rule for finding in findings("broken.mq5", text)}, text


@pytest.mark.parametrize("text", [RATES % "1, 100", RATES % "from, to", MODEL, ORDER])
def test_the_right_way_is_not_complained_of(text: str) -> None:
    assert findings("right.mq5", text) == []


@pytest.mark.parametrize("name", [*(name for name in FIXED if name != "decision.mqh"), "expert_advisor.mq5"])
def test_fixed_files_break_no_rule(name: str) -> None:
    assert findings(name, template(name)) == []


def test_comments_and_strings_are_no_code() -> None:
    text = '// while(true)\n/* iClose(a, b, 0) */\nPrint("while(true) // no comment");\n'
    assert findings("f.mqh", text) == []
    assert len(code_of(text)) == len(text)
    assert code_of(text).count("\n") == text.count("\n")


def test_a_finding_names_its_line() -> None:
    assert str(findings("f.mq5", "int x;\n" + BROKEN["endless-loop"][0])[0]).startswith("f.mq5:2: endless-loop: ")
