"""The units that the verifier knows, as tables: what each is in terms of others.

How they are read is in `ladder.verify.units`.
"""

from __future__ import annotations

#: Derived units as products of base units; the factor is in metres, kilograms and seconds.
SI: dict[str, tuple[str, str]] = {
    # symbol: (dimension, prefixes in use)
    "m": ("m", "p n µ u m c d k M"),
    "s": ("s", "p n µ u m"),
    "A": ("A", "n µ u m k"),
    "mol": ("mol", "n µ u m k"),
    "cd": ("cd", "m"),
    "N": ("kg m s-2", "µ u m k M"),
    "J": ("kg m2 s-2", "µ u m k M G"),
    "W": ("kg m2 s-3", "n µ u m k M G T"),
    "V": ("kg m2 s-3 A-1", "n µ u m k M"),
    "Ω": ("kg m2 s-3 A-2", "µ u m k M G"),
    "C": ("s A", "n µ u m k"),
    "F": ("kg-1 m-2 s4 A2", "p n µ u m"),
    "T": ("kg s-2 A-1", "n µ u m"),
    "Wb": ("kg m2 s-2 A-1", "m µ"),
    "H": ("kg m2 s-2 A-2", "n µ u m"),
    "Hz": ("s-1", "k M G T"),
    "Pa": ("kg m-1 s-2", "m h k M G"),
    "lm": ("lm", ""),
    "lx": ("lx", ""),
    "rad": ("rad", "m"),
    "bit": ("bit", "k M G T"),
}
#: symbol: (how many, of which unit, prefixes in use)
OTHER: dict[str, tuple[str, str, str]] = {
    "g": ("1/1000", "kg", "p n µ u m c d k M"),
    "L": ("1/1000", "m^3", "n µ u m c d h k"),
    "l": ("1/1000", "m^3", "m c d"),
    "eV": ("1.602176634e-19", "J", "m k M G T"),
    "cal": ("4.184", "J", "k"),
    "Wh": ("3600", "J", "m k M G T"),
    "bar": ("100000", "Pa", "m k"),
    "B": ("8", "bit", "k K M G T P"),
}
#: Powers of ten.
PREFIXES = {
    "p": -12,
    "n": -9,
    "µ": -6,
    "u": -6,
    "m": -3,
    "c": -2,
    "d": -1,
    "h": 2,
    "k": 3,
    "K": 3,
    "M": 6,
    "G": 9,
}
PREFIXES |= {"T": 12, "P": 15}
PREFIX_WORDS = {
    "pico": -12,
    "nano": -9,
    "micro": -6,
    "milli": -3,
    "centi": -2,
    "deci": -1,
    "hecto": 2,
    "kilo": 3,
}
PREFIX_WORDS |= {"mega": 6, "giga": 9, "tera": 12}
SI_WORDS = {
    "meter": "m", "metre": "m", "gram": "g", "gramme": "g", "second": "s", "liter": "L", "litre": "L", "newton": "N",
    "joule": "J", "watt": "W", "volt": "V", "ampere": "A", "amp": "A", "ohm": "Ω", "hertz": "Hz", "pascal": "Pa",
    "mole": "mol", "coulomb": "C", "farad": "F", "tesla": "T", "weber": "Wb", "henry": "H", "electronvolt": "eV",
    "electron-volt": "eV", "calorie": "cal", "watt-hour": "Wh", "watthour": "Wh", "byte": "B", "bit": "bit",
    "radian": "rad", "candela": "cd", "lumen": "lm", "lux": "lx",
}  # fmt: skip
#: symbols and words (words in the singular): (how many, of which unit)
DEFINED = """
in inch = 2.54 cm | ft foot feet = 12 in | yd yard = 3 ft | mi mile = 1760 yd | nmi = 1852 m | au = 149597870700 m
min minute mins = 60 s | h hr hrs hour = 60 min | sec secs = 1 s | d day = 24 h | wk week = 7 d | fortnight = 14 d
yr yrs year y = 12 month | mo = 1 month | decade = 10 yr | century centuries = 100 yr | millennium millennia = 1000 yr
lb lbs pound = 0.45359237 kg | t tonne = 1000 kg | ton tons = 2000 lb | oz ounce = 1/16 lb | stone = 14 lb
carat ct = 0.2 g | ha hectare = 10000 m^2 | acre = 4840 yd^2 | are = 100 m^2 | cc ccm = 1 cm^3 | sqft = 1 ft^2
gal gallon = 231 in^3 | qt quart = 1/4 gal | pt pint = 1/2 qt | cup = 1/2 pt | floz = 1/8 cup | tbsp tablespoon = 1/2 floz
tsp teaspoon = 1/3 tbsp | mph = 1 mi/h | kmh kmph kph = 1 km/h | mps = 1 m/s | fps = 1 ft/s | knot kn = 1852 m/h
atm atmosphere = 101325 Pa | mmhg torr = 133.322387415 Pa | psi = 6894.757293168 Pa | hp horsepower = 745.6998715822702 W
micron = 1 µm | angstrom Å = 0.1 nm | rev revolution turn = 360 ° | rpm = 6 °/s | deg degree = 1 ° | arcmin arcminute = 1/60 °
arcsec arcsecond = 1/60 arcmin | usd dollar buck us$ = 1 $ | cent ¢ = 0.01 $ | dime = 0.1 $ | nickel = 0.05 $ | penny = 0.01 $
eur euro = 1 € | gbp = 1 £ | pence = 0.01 £ | jpy cny rmb yen yuan = 1 ¥ | inr rs rupee = 1 ₹ | rub ruble rouble = 1 ₽
krw won = 1 ₩ | cad = 1 c$ | aud = 1 a$ | hkd = 1 hk$ | chf franc = 1 fr | peso = 1 mxn | Nm = 1 N·m | kNm = 1000 N·m | Ah = 1 A·h | mAh = 0.001 A·h | VA = 1 V·A | kVA = 1000 V·A | kib = 1024 B | mib = 1024 kib
gib = 1024 mib | tib = 1024 gib | bps = 1 bit/s | kbps = 1 kbit/s | mbps = 1 Mbit/s | gbps = 1 Gbit/s | gauss = 0.0001 T
米 公尺 = 1 m | 厘米 公分 = 1 cm | 毫米 = 1 mm | 分米 = 1 dm | 千米 公里 = 1 km | 微米 = 1 µm | 纳米 = 1 nm | 英里 = 1 mi
英尺 = 1 ft | 英寸 = 1 in | 码 = 1 yd | 里 = 500 m | 升 = 1 L | 毫升 = 1 mL | 克 = 1 g | 千克 公斤 = 1 kg | 毫克 = 1 mg
吨 = 1 t | 斤 = 500 g | 两 = 50 g | 磅 = 1 lb | 盎司 = 1 oz | 秒 秒钟 = 1 s | 分 分钟 = 1 min | 时 小时 = 1 h | 天 日 = 1 d
周 星期 = 1 wk | 月 个月 = 1 month | 年 = 1 yr | 度 = 1 ° | 弧度 = 1 rad | 元 块 块钱 人民币 日元 = 1 ¥ | 角 毛 = 0.1 ¥
美元 = 1 $ | 欧元 = 1 € | 英镑 = 1 £ | 公顷 = 1 ha | 亩 = 2000/3 m^2 | 平米 = 1 m^2 | 牛 牛顿 = 1 N | 焦 焦耳 = 1 J | 千焦 = 1 kJ
瓦 瓦特 = 1 W | 千瓦 = 1 kW | 千瓦时 = 1 kWh | 伏 伏特 = 1 V | 安 安培 = 1 A | 欧 欧姆 = 1 Ω | 赫兹 = 1 Hz | 帕 帕斯卡 = 1 Pa
千帕 = 1 kPa | 摩尔 = 1 mol | 库仑 = 1 C | 特斯拉 = 1 T | 字节 = 1 B
"""
#: Bases of their own: not convertible into anything but what is defined by them.
BASES = "K kg month $ € £ ¥ ₹ ₽ ₩ c$ a$ hk$ fr mxn dB"
TEMPERATURES = {
    "°c": ("1", "273.15"), "°f": ("5/9", "45967/180"), "celsius": ("1", "273.15"), "fahrenheit": ("5/9", "45967/180"),
    "centigrade": ("1", "273.15"), "摄氏度": ("1", "273.15"), "华氏度": ("5/9", "45967/180"),
    "kelvin": ("1", "0"),
}  # fmt: skip
