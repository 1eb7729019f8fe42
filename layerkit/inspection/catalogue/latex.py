"""A formula's Python in LaTeX, so that both can't differ.

Only commands that GitHub's renderer knows (it refuses ``operatorname``), and no ``|`` or ``*``.
"""

from __future__ import annotations

import ast
import re

LETTERS = {
    "alpha": r"\alpha",
    "beta": r"\beta",
    "delta": r"\delta",
    "eps": r"\epsilon",
    "gamma": r"\gamma",
    "inf": r"\infty",
    "lam": r"\lambda",
    "mu": r"\mu",
    "negative_slope": "a",
    "omega": r"\omega",
    "phi": r"\varphi",
    "Phi": r"\Phi",
    "running_mean": r"\mu_{\mathrm{run}}",
    "running_var": r"\sigma^2_{\mathrm{run}}",
    "var": r"\sigma^2",
    "x_hat": r"\hat{x}",
    "y_pred": r"\hat{y}",
    "y_true": "y",
    "pi": r"\pi",
}
FUNCTIONS = {
    "log": r"\log",
    "tanh": r"\tanh",
    "cosh": r"\cosh",
    "sin": r"\sin",
    "cos": r"\cos",
    "erf": r"\mathrm{erf}",
    "sign": r"\mathrm{sign}",
    "max": r"\max",
    "min": r"\min",
}
REDUCTIONS = {"sum": r"\sum", "mean": r"\mathrm{mean}", "max": r"\max"}
COMPARISONS: dict[type, str] = {
    ast.Lt: "<",
    ast.LtE: r"\le",
    ast.Gt: ">",
    ast.GtE: r"\ge",
    ast.Eq: "=",
}

# How strongly an expression holds together; one that is weaker than its place gets parentheses.
CASES, TERMS, BIG, FACTORS, POWER, ATOM = range(6)


def equation(left: ast.expr, right: ast.expr) -> str:
    """Return both sides, aligned at the equals sign."""
    return f"{expression(left)} &= {expression(right)}"


def expression(node: ast.AST) -> str:
    """Return the LaTeX of an expression."""
    return _latex(node)[0]


def name(word: str) -> str:
    r"""Return the LaTeX of a name: Greek, an index (``f1``), an exponent (``W_depth``) or upright.

    >>> name("gamma"), name("f1"), name("W_depth"), name("rate")
    ('\\gamma', 'f_1', 'W^{\\mathrm{depth}}', '\\mathrm{rate}')
    """
    if word in LETTERS:
        return LETTERS[word]
    if len(word) == 1:
        return word
    if numbered := re.fullmatch(r"([A-Za-z])(\d)", word):
        return f"{numbered[1]}_{numbered[2]}" if word[0].islower() else f"{word[0]}^{{({word[1]})}}"
    if parts := re.fullmatch(r"([A-Za-z])_(\w+)", word):
        return f"{parts[1]}^{{\\mathrm{{{parts[2]}}}}}"
    upright = word.replace("_", r"\ ")
    return f"\\mathrm{{{upright}}}"


def range_latex(of: str, stated: str) -> str:
    r"""Set a range in LaTeX.

    >>> range_latex("y", "(0, 1/4]")
    'y \\in \\left(0,\\, \\frac{1}{4}\\right]'
    """
    left, right = (side.replace("{", r"\{").replace("}", r"\}") for side in (stated[0], stated[-1]))
    ends = ",\\, ".join(map(expression, ends_of(stated)))
    quantity = expression(ast.parse(of, mode="eval").body)
    return f"{quantity} \\in \\left{left}{ends}\\right{right}"


def ends_of(stated: str) -> list[ast.expr]:
    """Return both ends of an interval, or the members of a set."""
    inside = ast.parse(f"({stated[1:-1]},)", mode="eval").body
    assert isinstance(inside, ast.Tuple)
    return inside.elts


def _latex(node: ast.AST) -> tuple[str, int]:
    """Return the LaTeX and how strongly it holds together."""
    match node:
        case ast.Constant(value=number):
            return _number(number), ATOM
        case ast.Name(id=word):
            return name(word), ATOM
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"-{_within(operand, BIG)}", TERMS
        case ast.BinOp():
            if positive := _without_minus(node):
                return f"-{_within(positive, BIG)}", TERMS
            return _operation(node)
        case ast.Attribute(value=value, attr="T"):
            return f"{_within(value, ATOM)}^\\top", POWER
        case ast.Subscript(value=value, slice=places):
            return _indexed(_within(value, ATOM), _places(places)), ATOM
        case ast.List(elts=[condition]):
            return _bracket(condition), ATOM
        case ast.Compare(left=left, ops=ops, comparators=others):
            signs = (COMPARISONS[type(op)] for op in ops)
            rest = (f" {sign} {_within(o, TERMS)}" for sign, o in zip(signs, others, strict=True))
            return _within(left, TERMS) + "".join(rest), CASES
        case ast.IfExp():
            return _cases(node), CASES
        case ast.Call(func=ast.Subscript(value=ast.Name(id=word), slice=over), args=[body]):
            return _reduction(word, over, body), POWER if word == "mean" else BIG
        case ast.Call(func=ast.Name(id=word), args=arguments):
            return _call(word, arguments)
    raise ValueError(f"no LaTeX for {ast.unparse(node)!r}")


def _operation(node: ast.BinOp) -> tuple[str, int]:
    left, op, right = node.left, node.op, node.right
    match op:
        case ast.Add():
            return f"{_before(left, TERMS)} + {_within(right, TERMS)}", TERMS
        case ast.Sub():
            return f"{_before(left, TERMS)} - {_within(right, BIG)}", TERMS
        case ast.Mult():
            a, b = _before(left, FACTORS), _within(right, BIG)
            return f"{a}{_times(left, b)}{b}", FACTORS
        case ast.MatMult():
            return f"{_before(left, FACTORS)}\\,{_within(right, FACTORS)}", FACTORS
        case ast.Div():
            if derivative := _derivative(left, right):
                return derivative, ATOM
            return f"\\frac{{{expression(left)}}}{{{expression(right)}}}", POWER
        case ast.Pow():
            return f"{_within(left, ATOM)}^{{{expression(right)}}}", POWER
        case ast.FloorDiv():
            inside = f"{_before(left, FACTORS)} / {_within(right, POWER)}"
            return f"\\lfloor {inside} \\rfloor", ATOM
        case ast.Mod():
            return f"{_before(left, FACTORS)} \\bmod {_within(right, POWER)}", TERMS
    raise ValueError(f"no LaTeX for {ast.unparse(node)!r}")


def _without_minus(node: ast.expr) -> ast.expr | None:
    """Return a product or quotient without the minus sign that it starts with, if it does."""
    match node:
        case ast.UnaryOp(operand=operand):
            return operand
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            positive = _without_minus(left)
            return positive and ast.BinOp(positive, op, right)
    return None


def _derivative(above: ast.expr, below: ast.expr) -> str:
    """Return ``∂L / ∂W`` of ``dL/dW``, or nothing where it is a quotient."""
    a, b = ast.unparse(above), ast.unparse(below)
    if not (re.match(r"d[Lvy]\b", a) and b.startswith("d")):
        return ""
    top, bottom = (expression(ast.parse(part[1:], mode="eval").body) for part in (a, b))
    return f"\\frac{{\\partial {top}}}{{\\partial {bottom}}}"


def _call(word: str, arguments: list[ast.expr]) -> tuple[str, int]:
    inside = ", ".join(map(expression, arguments))
    match word:
        case "exp":
            return f"e^{{{inside}}}", POWER
        case "sqrt":
            return f"\\sqrt{{{inside}}}", ATOM
        case "abs":
            return f"\\left\\lvert {inside} \\right\\rvert", ATOM
        case "sum":
            return f"\\sum {_within(arguments[0], FACTORS)}", BIG
    return f"{FUNCTIONS.get(word) or name(word)}{_parentheses(inside)}", POWER


def _reduction(word: str, over: ast.expr, body: ast.expr) -> str:
    under = ",\\,".join(map(expression, elements(over)))
    inside = _parentheses(expression(body)) if word == "mean" else _within(body, BIG)
    return f"{REDUCTIONS[word]}_{{{under}}} {inside}"


def _cases(node: ast.IfExp) -> str:
    rows = []
    rest: ast.expr = node
    while isinstance(rest, ast.IfExp):
        rows.append(f"{expression(rest.body)} & \\text{{if }} {expression(rest.test)}")
        rest = rest.orelse
    rows.append(f"{expression(rest)} & \\text{{else}}")
    return "\\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"


def _bracket(condition: ast.expr) -> str:
    """Return Iverson's bracket, or Kronecker's delta where two indices are compared."""
    match condition:
        case ast.Compare(left=ast.Name(id=i), ops=[ast.Eq()], comparators=[ast.Name(id=j)]):
            return f"\\delta_{{{name(i)}{name(j)}}}"
    return f"[\\,{expression(condition)}\\,]"


def elements(indices: ast.expr) -> list[ast.expr]:
    """Return the ``i`` and the ``j`` of ``i, j``."""
    return indices.elts if isinstance(indices, ast.Tuple) else [indices]


def without_bound(index: ast.expr) -> ast.expr:
    """Return the ``i`` of ``i < k``."""
    return index.left if isinstance(index, ast.Compare) else index


def _places(places: ast.expr) -> str:
    indices = [without_bound(index) for index in elements(places)]  # these stand in the text
    simple = all(isinstance(index, ast.Name | ast.Constant) for index in indices)
    tight = (expression(index).replace("\\,", " ") for index in indices)  # so are products there
    return ("" if simple else ",\\,").join(tight)


def _indexed(text: str, places: str) -> str:
    """Put indices below, after a number that stands there already: ``h_{1,nj}``."""
    if numbered := re.fullmatch(r"(\w)_(\d)", text):
        text, places = numbered[1], f"{numbered[2]},{places}"
    return f"{text}_{{{places}}}"


def _before(node: ast.expr, level: int) -> str:
    """Return an operand that something follows: sums and cases would swallow it."""
    text, strength = _latex(node)
    open_ended = strength in (BIG, CASES) or (strength == FACTORS and _ends_open(node))
    return _parentheses(text) if strength < level or open_ended else text


def _ends_open(node: ast.expr) -> bool:
    """Whether a product ends in a sum."""
    return isinstance(node, ast.BinOp) and _latex(node.right)[1] in (BIG, CASES)


def _within(node: ast.expr, level: int) -> str:
    text, strength = _latex(node)
    return _parentheses(text) if strength < level else text


def _parentheses(text: str) -> str:
    tall = any(word in text for word in ("\\frac", "\\sum", "\\begin", "\\max_"))
    return f"\\left({text}\\right)" if tall else f"({text})"


def _times(left: ast.expr, right: str) -> str:
    """Return what stands between two factors: a dot where digits would run together."""
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
        left = left.right
    number = isinstance(left, ast.Constant)
    if right[0].isdigit() or (number and right.startswith("\\frac")):
        return " \\cdot "
    return " " if number else "\\,"


def _number(number: object) -> str:
    """Return a number, a tiny one as a power of ten: ``10^{-12}``."""
    mantissa, _, exponent = str(number).partition("e")
    if not exponent:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    return power if float(mantissa) == 1 else f"{mantissa} \\cdot {power}"
