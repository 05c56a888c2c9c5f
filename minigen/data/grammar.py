"""The small grammar of emoji scenes: what a scene can hold, and the sentence for it, in English and in Chinese."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from minigen.data.glyphs import LANGUAGES

# English name: (emoji, Chinese measure word, Chinese name)
OBJECTS = {
    "cat": ("🐱", "只", "猫"),
    "dog": ("🐶", "只", "狗"),
    "fox": ("🦊", "只", "狐狸"),
    "bear": ("🐻", "只", "熊"),
    "panda": ("🐼", "只", "熊猫"),
    "pig": ("🐷", "只", "猪"),
    "frog": ("🐸", "只", "青蛙"),
    "monkey": ("🐵", "只", "猴子"),
    "chicken": ("🐔", "只", "鸡"),
    "penguin": ("🐧", "只", "企鹅"),
    "fish": ("🐟", "条", "鱼"),
    "octopus": ("🐙", "只", "章鱼"),
    "turtle": ("🐢", "只", "乌龟"),
    "butterfly": ("🦋", "只", "蝴蝶"),
    "elephant": ("🐘", "头", "大象"),
    "apple": ("🍎", "个", "苹果"),
    "banana": ("🍌", "根", "香蕉"),
    "strawberry": ("🍓", "颗", "草莓"),
    "pineapple": ("🍍", "个", "菠萝"),
    "watermelon": ("🍉", "块", "西瓜"),
    "carrot": ("🥕", "根", "胡萝卜"),
    "mushroom": ("🍄", "朵", "蘑菇"),
    "cake": ("🎂", "个", "蛋糕"),
    "pizza": ("🍕", "块", "披萨"),
    "tree": ("🌳", "棵", "树"),
    "cactus": ("🌵", "棵", "仙人掌"),
    "sunflower": ("🌻", "朵", "向日葵"),
    "car": ("🚗", "辆", "汽车"),
    "bicycle": ("🚲", "辆", "自行车"),
    "rocket": ("🚀", "枚", "火箭"),
    "sailboat": ("⛵", "艘", "帆船"),
    "house": ("🏠", "座", "房子"),
    "key": ("🔑", "把", "钥匙"),
    "clock": ("⏰", "个", "闹钟"),
    "umbrella": ("☂", "把", "雨伞"),
    "guitar": ("🎸", "把", "吉他"),
    "balloon": ("🎈", "个", "气球"),
    "star": ("⭐", "颗", "星星"),
    "heart": ("❤", "颗", "心"),
    "crown": ("👑", "顶", "皇冠"),
}
BACKGROUNDS = {  # English name: (Chinese name, red, green, blue)
    "white": ("白色", 255, 255, 255),
    "grey": ("灰色", 158, 158, 158),
    "yellow": ("黄色", 255, 238, 150),
    "orange": ("橙色", 250, 170, 90),
    "pink": ("粉色", 250, 176, 205),
    "green": ("绿色", 128, 205, 135),
    "blue": ("蓝色", 110, 178, 240),
    "purple": ("紫色", 178, 148, 222),
}
SIZES = {"small": "小", "large": "大"}
RELATIONS = ("left of", "above")  # the first object is always the one to the left, or the upper one


@dataclass(frozen=True)
class SceneObject:
    """An object by its English name, and its size: "small" or "large"."""

    name: str
    size: str

    def __post_init__(self):
        must_be_in("object", self.name, OBJECTS)
        must_be_in("size", self.size, SIZES)


@dataclass(frozen=True)
class Scene:
    """What a caption says: one object on a ground, or two with a relation between them."""

    objects: tuple[SceneObject, ...]
    background: str
    relation: str | None = None  # of the first object to the second; None for one object

    def __post_init__(self):
        must_be_in("background", self.background, BACKGROUNDS)
        if len(self.objects) not in (1, 2):
            raise ValueError(f"a scene holds one or two objects, not {len(self.objects)}")
        if (self.relation in RELATIONS) != (len(self.objects) == 2):
            raise ValueError(
                f"{len(self.objects)} object(s) with relation {self.relation!r}: give two objects one of "
                f"{', '.join(RELATIONS)}, one object None"
            )


def must_be_in(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the names there are, where `name` is none of them."""
    if name not in known:
        raise ValueError(f"there is no {kind} called {name!r}; choose one of {', '.join(known)}")


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


_PHRASES = {  # (relation, whether the second object is named first) -> English, Chinese
    ("left of", False): ("to the left of", "左边"),
    ("left of", True): ("to the right of", "右边"),
    ("above", False): ("above", "上面"),
    ("above", True): ("below", "下面"),
}


def caption_of(scene: Scene, language: str = "en", *, turned: bool = False) -> str:
    """The sentence that says what is in a scene, in English ("en") or Chinese ("zh").

    `turned` names the second object first: "a dog below a cat" is "a cat above a dog".
    """
    must_be_in("language", language, LANGUAGES)
    chinese = language == "zh"
    things = [
        f"一{OBJECTS[o.name][1]}{SIZES[o.size]}{OBJECTS[o.name][2]}" if chinese else f"a {o.size} {o.name}"
        for o in scene.objects
    ]
    ground = BACKGROUNDS[scene.background][0] if chinese else _with_article(scene.background)
    if len(things) == 1:
        return f"{ground}背景上有{things[0]}" if chinese else f"{things[0]} on {ground} background"
    phrase = _PHRASES[scene.relation, turned][chinese]
    first, second = reversed(things) if turned else things
    if chinese:
        return f"{ground}背景上\uff0c{first}在{second}的{phrase}"
    return f"{first} {phrase} {second} on {ground} background"


def parse_caption(caption: str) -> Scene:
    """Read a caption, English or Chinese, back into the scene that it asks for.

    A size left out is taken as large, a background left out as white. Raises ValueError in one sentence that names
    the word that is not understood, or what is missing.
    """
    objects, relation, background, size = [], None, None, "large"
    for text, kind, value in parts_of(caption):
        if kind == "unknown":
            raise ValueError(
                f"the caption {caption!r} holds {text!r}, which names no object, size, relation or background"
            )
        if kind == "size":
            size = value
        elif kind == "object":
            objects.append(SceneObject(value, size))
            size = "large"
        elif kind == "relation":
            relation = value if relation is None else _too_many("relation", caption)
        elif kind == "background":
            background = value if background is None else _too_many("background", caption)
    if not 1 <= len(objects) <= 2 or len(objects) != (1 if relation is None else 2):
        relations = "no relation" if relation is None else "one relation"
        raise ValueError(
            f"the caption {caption!r} names {len(objects)} object(s) and {relations}; it takes one object, "
            f"or two with a relation, as in {caption_of(_EXAMPLE)!r}"
        )
    if relation is None:
        return Scene((objects[0],), background or "white")
    name, turned = relation
    return Scene(tuple(reversed(objects) if turned else objects), background or "white", name)


class Part(NamedTuple):
    """A stretch of a caption, and what it names."""

    text: str
    kind: str  # "object", "size", "relation", "background"; "glue", which names nothing, or "unknown"
    value: object  # the English name; of a relation its name, and whether the caption turns it round


def parts_of(caption: str) -> list[Part]:
    """Cut a caption, English or Chinese, into its parts, the longest words first: 熊猫 is a panda and no bear."""
    texts = (match[0] for match in _WORDS.finditer(caption.lower()))
    return [Part(text, *_VOCABULARY.get(text, ("unknown", None))) for text in texts]


def _too_many(kind: str, caption: str):
    raise ValueError(f"the caption {caption!r} names more than one {kind}; a scene has one")


_EXAMPLE = Scene((SceneObject("cat", "small"), SceneObject("rocket", "large")), "blue", "left of")


def _vocabulary() -> dict[str, tuple[str, object]]:
    words = {name: ("object", name) for name in OBJECTS}
    words |= {row[2]: ("object", name) for name, row in OBJECTS.items()}
    words |= {name: ("size", name) for name in SIZES} | {zh: ("size", name) for name, zh in SIZES.items()}
    words |= {name: ("background", name) for name in BACKGROUNDS}
    words |= {row[0]: ("background", name) for name, row in BACKGROUNDS.items()}
    for meaning, (english, chinese) in _PHRASES.items():
        words |= dict.fromkeys((english, english.removeprefix("to the "), chinese), ("relation", meaning))
    words |= dict.fromkeys(("a", "an", "the", "on", "in", "front", "of", "and", "background"), ("glue", None))
    words |= dict.fromkeys(("背景", "一", "上", "有", "在", "的"), ("glue", None))
    return words | {row[1]: ("glue", None) for row in OBJECTS.values()}  # the measure words


_VOCABULARY = _vocabulary()
# Longest words first; then whatever else stands there, to be named as unknown
_WORDS = re.compile(
    "|".join(
        rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
        for word in sorted(_VOCABULARY, key=len, reverse=True)
    )
    + r"|[a-z0-9'-]+|[^\s.,;!。\uff0c\uff01]"
)
