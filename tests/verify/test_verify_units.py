"""Units: spellings, conversion against a table of its own, and what is no unit."""

import math
import random
from fractions import Fraction

import pytest

from ladder.records import AnswerType, Reference
from ladder.verify.amounts import read_amount
from ladder.verify.numeric import NUMBER, converted
from ladder.verify.policy import Policy
from ladder.verify.units import Unit, read_unit, split_unit

DEFAULT = Policy()

#: What units are in base units, as floats from physical tables, by kind; written without looking at the code's.
FLOATS: dict[str, dict[str, float]] = {
    "length": {"m": 1, "cm": 1e-2, "mm": 1e-3, "km": 1e3, "inches": 0.0254, "ft": 0.3048, "yards": 0.9144, "mi": 1609.344, "nm": 1e-9, "米": 1, "公里": 1e3},
    "area": {"m^2": 1, "cm²": 1e-4, "square feet": 0.09290304, "sq. in": 6.4516e-4, "hectares": 1e4, "acres": 4046.8564224, "平方千米": 1e6, r"\text{km}^{2}": 1e6},
    "volume": {"m^3": 1, "L": 1e-3, "mL": 1e-6, "cubic centimeters": 1e-6, "gallons": 3.785411784e-3, "cups": 2.365882365e-4, "立方厘米": 1e-6, "dm³": 1e-3, "cc": 1e-6},
    "mass": {"kg": 1, "g": 1e-3, "mg": 1e-6, "tonnes": 1e3, "lb": 0.45359237, "ounces": 0.028349523125, "斤": 0.5},
    "time": {"s": 1, "ms": 1e-3, "min": 60, "hours": 3600, "days": 86400, "weeks": 604800, "小时": 3600},
    "speed": {"m/s": 1, "km/h": 1 / 3.6, "mph": 0.44704, "feet per second": 0.3048, r"\frac{\text{km}}{\text{h}}": 1 / 3.6, "m s^{-1}": 1, "千米/时": 1 / 3.6, "knots": 0.514444444},
    "acceleration": {"m/s^2": 1, "m s^{-2}": 1, "cm/s²": 1e-2, "meters per second squared": 1, "ft/s^2": 0.3048},
    "density": {"kg/m^3": 1, "g/cm^3": 1e3, "g/mL": 1e3, "kg/L": 1e3, r"\text{g}/\text{cm}^3": 1e3},
    "force": {"N": 1, "kN": 1e3, "kg·m/s^2": 1, "newtons": 1},
    "energy": {"J": 1, "kJ": 1e3, "kWh": 3.6e6, "cal": 4.184, r"N\cdot m": 1, "eV": 1.602176634e-19, "W h": 3600},
    "power": {"W": 1, "MW": 1e6, "J/s": 1, "kilowatts": 1e3, "V A": 1},
    "pressure": {"Pa": 1, "kPa": 1e3, "bar": 1e5, "atm": 101325, "N/m^2": 1, "mmHg": 133.322387415, "mm Hg": 133.322387415, "psi": 6894.757293},
    "voltage": {"V": 1, "mV": 1e-3, "kV": 1e3, "J/C": 1},
    "resistance": {"Ω": 1, r"\Omega": 1, "ohms": 1, "V/A": 1, r"k\Omega": 1e3},
    "frequency": {"Hz": 1, "MHz": 1e6, "s^{-1}": 1, "GHz": 1e9},
    "angle": {"rad": 1, "°": math.pi / 180, r"^\circ": math.pi / 180, r"^{\circ}": math.pi / 180, "degrees": math.pi / 180, "度": math.pi / 180, "radians": 1},
    "temperature span": {"J/K": 1, "J/°C": 1},
    "dollars": {"$": 1, "dollars": 1, "USD": 1, "cents": 1e-2},
    "data": {"GB": 8e9, "MB": 8e6, "bytes": 8, "bits": 1},
    "calendar": {"months": 1, "years": 12, "decades": 120},
}  # fmt: skip


def base(unit: Unit) -> float:
    return float(unit.factor) * math.pi**unit.pi


def known(text: str) -> Unit:
    unit = read_unit(text)
    assert unit is not None, text
    return unit


@pytest.mark.parametrize("kind", FLOATS)
def test_every_unit_converts_as_in_a_table_of_floats(kind: str) -> None:
    rng = random.Random(kind)
    for name, factor in FLOATS[kind].items():
        for other, other_factor in FLOATS[kind].items():
            assert known(name).same_kind(known(other)), (name, other)
            number = rng.uniform(-1000, 1000)
            value, pi = converted((Fraction(number), 0), known(name), known(other))
            assert math.isclose(float(value) * math.pi**pi, number * factor / other_factor, rel_tol=1e-8), (
                name,
                other,
            )


def test_units_of_different_kinds_do_not_convert() -> None:
    for kind, names in FLOATS.items():
        for other, others in FLOATS.items():
            if kind != other:
                assert not any(known(a).same_kind(known(b)) for a in names for b in others), (kind, other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("0 °C", "273.15 K"),
        ("100 °C", "212 °F"),
        ("-40 °F", "-40 °C"),
        ("20 degrees Celsius", "68^\\circ\\text{F}"),
        ("0 K", "-273.15℃"),
    ],
)
def test_temperatures_have_an_offset(a: str, b: str) -> None:
    assert right(a, b) and right(b, a)


SPELLINGS: dict[str, str] = {
    "cm": r"5 cm|5cm|5\text{ cm}|5~\mathrm{cm}|5\,cm|5\ \text{cm}|5 \mathrm{~cm}|5 CM|5 Cm|5 centimeters|5 centimetre|$5$ cm|$5\text{ cm}$|5 (cm)|5厘米|\(5\) cm|5{\rm cm}",
    "cm^2": r"5 cm^2|5 cm²|5 cm^{2}|5\text{ cm}^2|5\text{ cm}^{2}|5 \mathrm{cm}^2|5 square cm|5 sq cm|5 sq. cm|5 cm2|5 square centimeters|5平方厘米|5 cm squared|5\text{ cm²}",
    "°": r"5°|5^\circ|5^{\circ}|5 \degree|5 degrees|5 deg|5度|{5}^\circ|5{}^\circ|5 ^ \circ|5^{∘}|5\degree|5º",
    "m/s": r"5 m/s|5m/s|5\text{ m/s}|5\ \mathrm{m/s}|5 \frac{m}{s}|5\,\mathrm{m\,s^{-1}}|5 m s^-1|5 meters per second|5 metres/second|5 m·s⁻¹|5 m s^{-1}|5\frac{\text{m}}{\text{s}}",
    "$": r"$5|\$5|5 dollars|5 USD|USD 5|US$5|5$|5 bucks|5 US dollars|$ 5|$5 dollars|5美元",
    "$/h": r"$5 per hour|$5/hour|$5/hr|5 dollars per hour|$5 an hour|5 dollars/hour|$5 / h",
    "µm": r"5 µm|5 μm|5 \mu m|5 \mu\text{m}|5\,\mu\mathrm{m}|5 micrometers|5 um|5 microns",
    "m": "5 m|5m|5 meters|5 meter|5 metres|5米|5\\text{m}",
    "h": "5 h|5h|5 hr|5 hrs|5 hours|5 hour|5 Hours|5小时",
}


@pytest.mark.parametrize(
    ("text", "unit"), [(text, unit) for unit, texts in SPELLINGS.items() for text in texts.split("|")]
)
def test_a_unit_is_taken_off_however_it_is_spelled(text: str, unit: str) -> None:
    amount, found = split_unit(text)
    assert (amount.strip(" {}"), found) == ("5", known(unit) if unit != "$/h" else found)
    assert unit != "$/h" or (found is not None and found.same_kind(known("$/s")))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (r"\frac{5\sqrt{2}}{2}\text{ cm}", r"\frac{5\sqrt{2}}{2}"), (r"6\pi cm", r"6\pi"), (r"2x\text{ cm}", "2x"), ("x = 5 cm", "x = 5"),
        (r"2\sqrt{3} cm", r"2\sqrt{3}"), (r"3 \times 10^{8} cm", r"3 \times 10^{8}"), ("five cm", "five"), (r"(2+\sqrt{2}) cm", r"(2+\sqrt{2})"),
    ],
)  # fmt: skip
def test_what_stands_before_a_unit_is_kept(text: str, amount: str) -> None:
    assert split_unit(text) == (amount, known("cm"))


@pytest.mark.parametrize(
    "text",
    [
        *("5x", "2a", "5 x", "2 m n", "3t", "x", "m", "cm", "$", "5", "", "5%", "5 apples", "red", "2x m", "5 s t", r"\min", r"5 \min", "AB", "A m"),
        *(r"\frac{\sqrt{14}}{4}a", "the point lies in", "the area is 5 cm", "f in", "sin m", "5 or 6", r"\sqrt{2}", "a b c", "5 cm or", "per hour"),
    ],
)  # fmt: skip
def test_a_variable_or_a_word_is_no_unit(text: str) -> None:
    assert split_unit(text) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "24 units",
        "24 square units",
        r"24\text{ units}^2",
        "24 cubic units",
        r"24 \text{ sq. units}",
        "24 units²",
    ],
)
def test_a_unit_without_a_name_is_taken_off_and_is_none(text: str) -> None:
    assert split_unit(text) == ("24", None)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1 h 30 min", 90, "min"), ("1 hour, 30 minutes", 90, "min"), ("1 hour and 30 minutes", 90, "min"), ("2 min 5 s", 125, "s"), ("1h30min", 90, "min"),
        ("5 ft 3 in", 63, "in"), ("5'3\"", 63, "in"), ("5' 3''", 63, "in"), ("3 m 20 cm", 320, "cm"), ("5 lb 3 oz", 83, "oz"), ("1小时30分钟", 90, "min"),
        ("30° 15'", Fraction(121, 4), "°"), (r"30^\circ 15'", Fraction(121, 4), "°"), ("one hour and thirty minutes", 90, "min"), ("-1 h 30 min", -90, "min"),
        ("1:30 h", 90, "min"), ("1:30 min", 90, "s"), ("5 dollars and 20 cents", 520, "cents"), ("1 day 2 hours 3 minutes", 1563, "min"),
        ("half an hour", 30, "min"), ("two and a half hours", 150, "min"), ("1 1/2 hours", 90, "min"), (r"1\text{ h }30\text{ min}", 90, "min"),
    ],
)  # fmt: skip
def test_a_sum_of_units_is_one_amount(text: str, value: Fraction, unit: str) -> None:
    found = read_amount(text)
    assert found is not None and found.unit is not None
    assert converted((found.value, found.pi), found.unit, known(unit)) == (value, 0)


@pytest.mark.parametrize(
    "text",
    [
        "5 m 3 kg",
        "3 in 5 ft",
        "5 ft 3",
        "30 min 1 h",
        "5 cm 3 cm",
        "1 h or 30 min",
        "1 h 30 min 5",
        "5 m 6",
        "1 h - 30 min",
    ],
)
def test_other_rows_of_units_are_no_amount(text: str) -> None:
    assert read_amount(text) is None


def right(
    answer: str, gold: str, policy: Policy = DEFAULT, *, unit: str | None = None, tolerance: str | None = None
) -> bool:
    read = NUMBER.read(Reference(gold, (), AnswerType.NUMBER, tolerance, unit), policy)
    judgement = NUMBER.judge(answer, read, policy)
    if judgement is None:
        assert NUMBER.decide is not None
        judgement = NUMBER.decide(answer, read, policy)
    return judgement.right


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("50 mm", "5 cm"), ("0.05 m", "5 cm"), ("5", "5 cm"), ("5 cm", "5"), ("60 min", "1 h"), ("1 h", "60 min"), ("1.5 hours", "1 h 30 min"), ("90 min", "1 h 30 min"),
        (r"\frac{\pi}{3}", r"60^\circ"), (r"\pi/3 rad", "60°"), ("π/3", "60 degrees"), ("60°", r"\frac{\pi}{3} rad"), ("60", "60°"), (r"\frac{10}{2}\text{ cm}", "5 cm"),
        (r"\sqrt{25} cm", "5 cm"), (r"\sqrt{2500} mm", "5 cm"), ("36 km/h", "10 m/s"), ("10000 cm^2", "1 m^2"), ("1000 L", "1 m³"), ("5 apples", "5 cm"), ("5 cm long", "5 cm"),
        ("12 meters tall", "12 m"), ("500 cents", "$5"), ("5", "$5"), ("£5", "5 pounds"), ("5 pounds", "£5"), ("20°", "20 °C"), ("5 t", "5 tons"), ("5 ft 3 in", "63 in"),
        ("$5 million", "$5,000,000"), ("180 - 120 degrees", "60°"), ("5 square units", "5 cm^2"), (r"\frac{2 \cdot \pi}{6}", "60°"), ("300K", "300 K"), ("1/2 mile", "0.5 mi"),
    ],
)  # fmt: skip
def test_the_same_quantity_in_another_unit_is_right(answer: str, gold: str) -> None:
    assert right(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("5 m", "5 cm"), ("5 kg", "5 cm"), ("5 cm^2", "5 cm"), ("5 cm", "5 cm^2"), ("5 mm", "5 cm"), ("60 rad", "60°"), ("60 radians", "60°"), (r"60\pi", "60°"),
        ("5%", "5 cm"), ("€5", "$5"), ("5 cents", "$5"), ("5 m/s", "5 km/h"), ("5 km", "5 km/h"), ("50 mm or 5 mm", "5 cm"), ("5 cm, 6 cm", "5 cm"), ("5.1 cm", "5 cm"),
        ("1 h 31 min", "1 h 30 min"), ("1.3 h", "1 h 30 min"), ("6 cm", "5 cm"), ("20 °F", "20 °C"), ("60°C", "60°"), (r"\sqrt{25} m", "5 cm"), (r"\sqrt{26} cm", "5 cm"),
        ("5 kg of sand", "5 cm"), ("5 pound cakes", "5 cm"), ("1.0471975512", "60°"), ("1.0471975512 rad", "60°"), ("5 hours", "5 min"), (r"\frac{\pi}{6}", "60°"),
    ],
)  # fmt: skip
def test_another_unit_is_another_quantity(answer: str, gold: str) -> None:
    assert not right(answer, gold)


def test_a_missing_unit_follows_the_policy() -> None:
    strict = Policy(missing_unit="reject")
    for gold, unit in (("5 cm", None), ("5", "cm"), ("$5", None), ("5", "$"), ("60°", None)):
        bare = gold.strip("$ cm°")
        assert right(bare, gold, unit=unit) and not right(bare, gold, strict, unit=unit)
        assert right(f"{bare} apples", gold, unit=unit) and not right(
            f"{bare} apples", gold, strict, unit=unit
        )
    assert right("50 mm", "5 cm", strict) and right("50 mm", "5", strict, unit="cm")
    assert right("5", "5", strict) and right("5 cm", "5", strict)


@pytest.mark.parametrize(
    ("answer", "gold", "unit", "expected"),
    [
        ("12 minutes per month", "12", "minutes per month", True), ("12", "12", "minutes per month", True), ("12 hours per month", "12", "minutes per month", False),
        ("$12 per year", "12", "$, per year", True), ("12 $, per year", "12", "$, per year", True), ("12 m", "12", "meters tall", True), ("12 cm", "12", "meters tall", False),
        ("12 people", "12", "people", True), ("12", "12", "Nobel Prize winners", True), ("12 people per square mile", "12", "people per square mile", True),
        ("5 million", "5", "million people", True), ("5", "5", "millions", True), ("5,000,000", "5", "million", True), ("5 thousand", "5", "million", False),
        ("0.5 dollars", "0.50", "$", True), ("50 cents", "0.50", "$", True), ("50", "0.50", "$", False), ("12 kg", "12", "kilograms per person", True),
    ],
)  # fmt: skip
def test_the_units_column_says_what_the_gold_is_in(answer: str, gold: str, unit: str, expected: bool) -> None:
    assert right(answer, gold, unit=unit) is expected


def test_a_unit_in_the_gold_goes_before_the_column() -> None:
    assert right("5 cm", "5 cm", unit="m") and not right("5 m", "5 cm", unit="m")
