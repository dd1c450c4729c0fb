"""Honest training scripts that look unusual: other precisions, quantised weights, dropout. None may be refused."""

from candidates import GO, SHIPPED, TABLE, answers

_LINEAR = "        return F.linear(x, self.weight.flatten(0, 1).to(x.dtype))\n"
_INT8 = """
        weight = self.weight.flatten(0, 1)
        if not self.training:  # scales of one number a tensor, of the activations too, as dynamic quantisation has them
            s, t = weight.abs().max() / 127, x.abs().max().float() / 127 + 1e-9
            return F.linear((x / t).round().clamp(-127, 127) * t, (weight / s).round().to(x.dtype) * s.to(x.dtype))
        return F.linear(x, weight.to(x.dtype))
"""
_QUANTISED = """
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.small = torch.nn.Linear(256, 256, bias=False), None
    def forward(self, tokens):
        if self.small is None:
            self.small = [torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(self.table), {torch.nn.Linear})]
        return self.small[0](one_hot(tokens))
"""
assert SHIPPED.count(_LINEAR) == 1
HONEST = {
    "a table": TABLE + GO,
    "a table in bfloat16": answers("return self.table.bfloat16()[tokens]"),
    "a table in float16 on a smaller scale": answers("return self.table.half()[tokens].float() * 0.98"),
    "int8 by torch": (TABLE + _QUANTISED + GO)
    .replace("model.table.data =", "model.table.weight.data =")
    .replace("keepdims=True))).float()", "keepdims=True)).T.copy()).float()"),
    "shipped": SHIPPED,
    "shipped in float32": SHIPPED.replace("CPU_DTYPE = torch.bfloat16 if", "CPU_DTYPE = torch.float32 if"),
    "shipped in bfloat16": SHIPPED.replace("if cpu_has_bfloat16() else torch.float32", "if True else torch.float32"),
    "shipped in int8": SHIPPED.replace(_LINEAR, _INT8),
    "shipped with dropout": SHIPPED,
}
