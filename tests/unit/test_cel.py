"""CEL as Kubernetes has it: the language, its library, its errors and its bounds."""

import pytest

from apimachinery import cel

VARIABLES = {"object": "dyn", "n": "int", "t": "timestamp"}
OBJECT = {
    "spec": {"replicas": 3, "containers": [{"image": "xa"}] * 3, "my-x": 1, "namespace": "u"},
    "metadata": {"labels": {"a.b/c": "v"}},
}


def evaluate(expression: str, **values: object) -> object:
    return cel.compile(expression, VARIABLES).evaluate({"object": OBJECT, "n": 3, **values})


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas <= 5 && object.spec.containers.all(c, c.image.startsWith('x'))",
        "!has(object.spec.foo) && has(object.spec.replicas)",
        "object.spec.my__dash__x == 1 && object.spec.__namespace__ == 'u'",
        "object.metadata.labels['a.b/c'] == 'v'",
        "object.?spec.?foo.orValue(7) == 7 && object.spec[?'replicas'].orValue(7) == 3",
        "[?object.?nope, ?optional.of(dyn(3))] == [3]",
        "object.?spec.?replicas.optMap(x, x + 1).orValue(0) == 4",
        "optional.none().or(optional.of(1)).value() == 1",
        "[1, 2, 3].map(x, x > 1, x * 10) == [20, 30] && [[1, 2], [3]].map(l, l.map(x, x + 1)) == [[2, 3], [4]]",
        "[1, 2].transformMap(i, v, v) == {0: 1, 1: 2} && {'a': 1}.transformList(k, v, k + string(v)) == ['a1']",
        "{'a': 1}.all(k, v, v == 1) && {'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
        "1/0 == 1 || true",
        "!([1, 0].all(x, 1/x > 5)) && [0, 1].exists(x, 1/x == 1)",
        "1 < 2.5 && dyn(1) == 1.0 && dyn(1) != '1' && dyn([1]) == [1.0] && dyn(true) != 1",
        "type(1) == int && type(object) == map",
        "timestamp('2023-01-01T00:00:00Z') + duration('1h') > timestamp('2023-01-01T00:30:00Z')",
        "string(timestamp('2023-01-01T00:00:00.5Z')) == '2023-01-01T00:00:00.5Z' && string(duration('90m')) == '5400s'",
        "duration('1h30m').getMinutes() == 90 && timestamp('2023-02-01T05:00:00+02:00').getHours() == 3",
        "-7 / 2 == -3 && -7 % 2 == -1",
        "[1, 3, 2].isSorted() == false && [1, 2].sum() == 3 && [1, 3].max() == 3 && ['a', 'b'].indexOf('b') == 1",
        "'hello'.find('l+') == 'll' && '12 a 3'.findAll('[0-9]+') == ['12', '3'] && 'ab'.matches('^a.$')",
        "quantity('50k').add(20).sub(quantity('100k')).sub(-50000) == quantity('20')",
        "quantity('1Gi').isGreaterThan(quantity('500Mi')) && !isQuantity('200K')",
        "url('https://example.com:80/a?x=1&x=2').getQuery() == {'x': ['1', '2']} && !isURL('example.com')",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getPort() == '80'",
        "ip('::1').family() == 6 && ip.isCanonical('::1') && !isIP('127.0.0.256')",
        "quantity('50k').asInteger() == 50000 && string(ip('10.0.0.1')) == '10.0.0.1'",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
        "cidr('192.168.0.1/24') != cidr('192.168.0.1/24').masked() && cidr('::1/128').prefixLength() == 128",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        "isSemver('v1.0', true) && !isSemver('v1.0') && semver('01.01.01', true).minor() == 1",
        "format.dns1123Label().validate('A b').hasValue() && !format.uuid().validate("
        "'123e4567-e89b-12d3-a456-426614174000').hasValue() && !format.named('nope').hasValue()",
        "'a,b'.split(',').join('-') == 'a-b' && 'abc'.charAt(1) == 'b' && ' A '.trim().lowerAscii() == 'a'",
        "'abcabc'.replace('b', 'z', 1) == 'azcabc' && 'abc'.substring(1, 2) == 'b'",
        """'%s %d %.2f %x %s'.format(['a', 5, 1.234, 255, [1, 'a', true]]) == 'a 5 1.23 ff [1, "a", true]'""",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])",
        "strings.quote('a\"b') == '\"a\\\\\"b\"'",
    ],
)
def test_expressions_hold(expression: str) -> None:
    assert evaluate(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object.spec.foo", "no such key: foo"),
        ("object.spec.replicas + '1'", "no such overload: _+_(int, string)"),
        ("1/0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("[1, 2][5]", "index out of bounds: 5"),
        ("'x'.matches('(' + '')", "error parsing regexp: missing )"),
        ("ip('::ffff:1.2.3.4')", "IPv4-mapped"),
        ("[1, 2].transformMap(i, v, {'a': 1}[v])", "no such key: 1"),
    ],
)
def test_errors_of_evaluation(expression: str, message: str) -> None:
    with pytest.raises(
        cel.EvaluationError, match="^" + message.replace("(", r"\(").replace(")", r"\)").replace("+", r"\+")
    ):
        evaluate(expression.replace("{'a': 1}[v]", "dyn({'a': 1})[v]"))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("n > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("'wants ' + n", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("nope", "undeclared reference to 'nope' (in container '')"),
        ("n +", "Syntax error: mismatched input '<EOF>'"),
        ("namespace", "reserved identifier: namespace"),
        ("cel.bind(a, 1, a)", "undeclared reference to 'bind'"),
    ],
)
def test_errors_of_compilation_are_upstreams(expression: str, message: str) -> None:
    with pytest.raises(cel.CompilationError) as error:
        cel.compile(expression, VARIABLES)
    assert message in str(error.value)
    assert str(error.value).startswith("ERROR: <input>:1:")


@pytest.mark.parametrize("expression", ["duration('x')", "timestamp('2020')", "object.a.matches('(')"])
def test_literals_are_checked_at_compilation(expression: str) -> None:
    with pytest.raises(cel.CompilationError, match=r"invalid \w+ argument"):
        cel.compile(expression, VARIABLES)


def test_a_result_of_another_type_is_refused() -> None:
    with pytest.raises(cel.CompilationError, match="must evaluate to bool"):
        cel.compile("n", VARIABLES, result="bool")
    assert cel.compile("object.a", VARIABLES, result="bool").result == "dyn"


@pytest.mark.parametrize(
    "expression",
    [
        "l.all(a, l.all(b, l.all(c, a != 'x' || b != c)))",
        "l.map(a, s.replace('a', s)).size() > 0",
        "l.map(a, s).join().size() > 0",
        "l.all(a, l.all(b, a == b))",
        "sets.contains(l, l)",
        "l.map(a, s + s).size() > 0",
        "l.all(a, '%s'.format([l]) != '')",
        "l.map(a, l).map(c, l.map(a, l)).all(b, sets.contains(b, b))",
    ],
)
def test_a_costly_expression_is_ended(expression: str) -> None:
    program = cel.compile(expression, {"l": "list<string>", "s": "string"})
    with pytest.raises(cel.BudgetExceeded):
        program.evaluate({"l": ["y"] * 2000, "s": "a" * 20_000})


def test_several_evaluations_share_a_budget() -> None:
    program, budget = cel.compile("n + 1 > 2", VARIABLES), cel.Budget(7)
    assert program.evaluate({"n": 3}, budget) is True
    assert budget.left == 4
    with pytest.raises(cel.BudgetExceeded):
        for _ in range(3):
            program.evaluate({"n": 3}, budget)


def test_variables_are_told() -> None:
    assert cel.compile("n > 1 && object.all(n2, n2 > 1)", VARIABLES).variables == {"n", "object"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("string(1000000.0)", "1e+06"),
        ("string(123456789.0)", "1.23456789e+08"),
        ("string(100000.0)", "100000"),
        ("string(-0.00001)", "-1e-05"),
        ("string(1.5)", "1.5"),
        ("'%s %s'.format([['a', 'b'], {'k': 'v'}])", '["a", "b"] {"k":"v"}'),
        ("'%e'.format([-0.00012])", "-1.200000×10⁻⁰⁴"),
        ("'%e|%.20e'.format([0.0, 12345.6])", "0.000000×10⁰⁰|" + " " * 7 + "1.234560×10⁰⁴"),
        ("'%.2f %f'.format([1234567.891, 'NaN'])", "1,234,567.89 NaN"),
        ("'%f %f'.format([double('Infinity'), '-Infinity'])", "∞ -∞"),
        (r"'%d %x %X %o %b %b'.format([5u, 'ab', b'\xff', 8, -5, true])", "5 6162 FF 10 -101 1"),
        ("'%%%s%%'.format(['a'])", "%a%"),
        (
            "'%s'.format([[1.5, b'x', null, true, timestamp('2020-01-01T00:00:00Z'), duration('2h'), double('NaN')]])",
            '[1.500000, b"x", null, true, timestamp("2020-01-01T00:00:00Z"), duration("7200s"), "NaN"]',
        ),
        (r"'%s'.format([{'b': 'say \"x\"\n\u00a0', 'a': 1u}])", r'{"a":1, "b":"say \"x\"\n\u00a0"}'),
        ("'%s %s %s'.format([1.5, type(1), duration('1.5s')])", "1.5 int 1.5s"),
        ("[1, 2, 3].slice(0, 2)", [1, 2]),
        ("['b', 'a'].sort()", ["a", "b"]),
        ("[1, 1, 2].distinct()", [1, 2]),
        ("[1, 2, 3].reverse()", [3, 2, 1]),
    ],
)
def test_what_cel_go_gives(expression: str, value: object) -> None:
    assert cel.compile(expression, {}).evaluate({}) == value


@pytest.mark.parametrize("expression", ["[1, 2].slice(2, 1)", "[1].slice(0, 2)", "[1].slice(-1, 0)"])
def test_a_slice_is_inside_its_list(expression: str) -> None:
    with pytest.raises(cel.EvaluationError, match="cannot slice"):
        cel.compile(expression, {}).evaluate({})


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        ("true\n || {'a': 1, 'b': [2]}.size() > 1", "<input>:2:19: expected type 'int' but found 'list(int)'"),
        ("[dyn(1), 2]", "expected type 'dyn' but found 'int'"),
        ("[1, null]", "expected type 'int' but found 'null'"),
        ("'%s %s'.format(['a'])", "ERROR: <input>:1:15: index 1 out of range"),
        ("'%s'.format(['a', 'b'])", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'filler %'.format([])", "unexpected end of string"),
        ("'%j'.format([1])", 'could not parse formatting clause: unrecognized formatting clause "j"'),
        ("'%.f'.format([1.0])", 'precision to integer: strconv.Atoi: parsing "": invalid syntax'),
        ("'%.3'.format([1.0])", "could not find end of precision specifier"),
        ("'%d'.format(['a'])", "1:14: error during formatting: decimal clause can only be used on integers, was given"),
        ("'%d'.format([1.5])", "decimal clause can only be used on integers, was given double"),
        ("'%f'.format([1])", "fixed-point clause can only be used on doubles, was given int"),
        ("'%e'.format([true])", "scientific clause can only be used on doubles, was given bool"),
        ("'%b'.format(['a'])", "only integers and bools can be formatted as binary, was given string"),
        ("'%o'.format([null])", "octal clause can only be used on integers, was given null_type"),
        ("'%x'.format([[1]])", "only integers, byte buffers, and strings can be formatted as hex, was given list"),
        ("'%s'.format([[1, quantity('1')]])", "1:26: error during formatting: string clause can only be used on"),
        ("'%s'.format([optional.of(1)])", "durations, and timestamps, was given optional_type"),
        ("[timestamp('2020-01-01T00:00:00Z'), duration('1h')]", "expected type 'timestamp' but found 'duration'"),
        ("[quantity('1'), ip('::1')]", "expected type 'kubernetes.Quantity' but found 'net.IP'"),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument"),
        ("true || 'a'.matches('(')", "invalid matches argument"),
        ("'a'.find('(')", "error parsing regexp"),
        ("true ? 1 : int('x')", "type conversion error from 'string' to 'int'"),
        ("uint(-1)", "unsigned integer overflow"),
        ("'a'.reverse()", "found no matching overload for 'reverse'"),
        ("quantity('1').sign()", "'sign'"),
        ("quantity('1').mul(2)", "undeclared reference to 'mul'"),
    ],
)
def test_what_upstream_refuses_is_refused(expression: str, told: str) -> None:
    with pytest.raises(cel.CompilationError) as refused:
        cel.compile(expression, {})
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("['%s %d'.format(['a', 1]), 'b']", ["a 1", "b"]),
        ("[[], [1]]", [[], [1]]),
        ("lists.range(3)", [0, 1, 2]),
        ("[[1], [2, 3]].flatten()", [1, 2, 3]),
        ("[[[1]], [[2]]].flatten(2)", [1, 2]),
        ("['bb', 'a', 'ccc'].sortBy(x, -x.size())", ["ccc", "bb", "a"]),
        ("'%.3e'.format([12345.678])", "1.234568\u00d710\u2070\u2074"),
        ("'abc'.indexOf('', 50)", 3),
        ("'abc'.lastIndexOf('c', 3)", -1),
        ("duration('1.5s').getMilliseconds()", 1500),
        *((f"quantity('{text}').isInteger()", True) for text in ("2Ki", "1k", "100000T", "123456789012345678")),
        *((f"quantity('{text}').isInteger()", False) for text in ("1.5Gi", "1000m", "10.0", "1Pi", "1e20", "1.5")),
        ("quantity('1').sub(quantity('0.5')).add(quantity('0.5')).isInteger()", False),
        ("quantity('1k').add(1).asInteger()", 1001),
    ],
)
def test_values_are_upstreams(expression: str, value: object) -> None:
    """Known to differ: ``format`` with a wrong literal list fails when it is evaluated, not when it is compiled."""
    assert evaluate(expression) == value


_TEXT = "Rook takes \U0001f451"
_ITEMS = [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"}]


@pytest.mark.parametrize(
    ("expression", "value", "cost"),
    [
        ("self.startsWith('Rook')", _TEXT, 3),
        ("self.matches('^[^0-9]*$')", _TEXT, 7),
        ("self.replace(' ', 'x') == 'Rookxtakesx'", _TEXT, 6),
        ("self.split(' ') == ['Rook', 'takes']", _TEXT, 5),
        ("self.contains(self)", "a" * 500, 2502),
        ("double(5) < 10.0", 0, 1),
        ("self.a in ['Pending', 'Available']", {"a": "Pending"}, 2),
        ("self.b[0] in self.a", {"a": [1, 2, 3], "b": [1]}, 8),
        ("self.a + [4, 5] == [1, 2, 3, 4, 5]", {"a": [1, 2, 3]}, 4),
        ("self[0] == [self[0][0], self[0][1]]", [["a", "b"]], 19),
        ("self.all(k, self[k] > 0)", {"b": 1, "d": 2}, 14),
        ("self.exists_one(k, self[k] == 2)", {"b": 1, "d": 2}, 11),
        ("size(self.filter(k, self[k] > 1)) == 1", {"b": 1, "d": 2}, 23),
        ("has(self[0].v)", _ITEMS, 2),
        ("self.all(m, !has(m.v2) || m.v2 == 'z')", _ITEMS, 20),
        ("!self.exists(m, m.v == 'x')", _ITEMS, 24),
        ("self.map(m, m.v).exists(v, v == 'b1')", _ITEMS, 54),
        ("[1, 2, 3, 4, 5].sum()", 0, 5),
        ("url('https:://kubernetes.io/').getHost()", 0, 4),
        ("ip.isCanonical('192.168.0.1')", 0, 3),
        ("cidr('192.168.0.0/16').containsCIDR(cidr('192.0.0.0/30'))", 0, 7),
        ("cidr('192.168.0.0/16').containsIP('192.169.0.1')", 0, 5),
    ],
)
def test_costs_are_upstreams(expression: str, value: object, cost: int) -> None:
    """Figures of celcoststability_test.go, library/cost_test.go and runtimecost_test.go."""
    budget = cel.Budget()
    cel.compile(expression, {"self": "dyn"}).evaluate({"self": value}, budget)
    assert cel.DEFAULT_COST - budget.left == cost


def test_each_evaluation_has_its_limit() -> None:
    """However much is left for all."""
    program, budget = cel.compile("l.all(a, l.all(b, a == b))", {"l": "list<int>"}), cel.Budget(cel.OBJECT_BUDGET)
    with pytest.raises(cel.BudgetExceeded):
        program.evaluate({"l": [1] * 1000}, budget)
    assert cel.OBJECT_BUDGET - 1_001_000 < budget.left < cel.OBJECT_BUDGET - 999_000
