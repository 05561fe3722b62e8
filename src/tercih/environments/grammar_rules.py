"""The rules of the grammar task's language, and what can be read off them: sentences, their number, their pattern."""

import random
import re
from functools import cache
from math import prod

# One rule a line, alternatives between bars. {name} is another rule, {.name} the rule of the kind of question asked
# ("{.body}" of a where-question is "where.body"), {topic} the thing or place asked about.
LANGUAGE = """
adjective = old | new | small | big | red | blue | green | yellow | white | black | grey | brown | wooden | round |
    pretty | simple
thing = lamp | kettle | basket | chair | mirror | bottle | carpet | teapot | blanket | drum | flute | ladder | bucket |
    box | jug | vase | plate | spoon | bowl | kite | doll | boat | puzzle | pencil | scarf | hat | umbrella | violin |
    cup | pillow
place = library | market | bakery | museum | theatre | station | school | gallery | bookshop | farm | harbour | tower |
    castle | park
number = two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
day = Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday
person = the gardener | the baker | my sister | my uncle | the teacher | the guard | our neighbour | the cook
greeting = Hello | Excuse me | Good morning | Good evening | Sorry | Please tell me | Dear helper | Pardon me

where.question = where is the {topic} | where can I find the {topic} | where do you keep the {topic} |
    where should I look for the {topic}
where.first = {side} the {spot}
where.second = next to the {landmark} | not far from the {landmark}
where.body = The {topic} is {where.first} | You will find the {topic} {where.first} | We keep the {topic} {where.first}
where.curt = It is {where.first}. | Look {where.first}.
side = on | under | behind | beside | near
spot = kitchen table | garden wall | long shelf | window seat | corner cupboard | hall bench | oak desk | stone steps |
    front door | back gate
landmark = clock | piano | fireplace | fountain | apple tree | bookcase | big bell | statue

when.question = when does the {topic} open | when can I visit the {topic} | what time does the {topic} open |
    at what hour should I go to the {topic}
when.first = at {number} | at half past {number}
when.second = every day but {day} | but later on {day}
when.body = The {topic} opens {when.first} | You can visit the {topic} {when.first} | We open the {topic} {when.first}
when.curt = It opens {when.first}. | Come {when.first}.

how.question = how do I clean the {topic} | how should I wash the {topic} | how can I make the {topic} clean |
    what is the best way to clean the {topic}
how.first = with {tool}
how.second = for {number} minutes | at least {number} times
how.body = You can clean the {topic} {how.first} | We wash the {topic} {how.first} | Rub the {topic} {how.first}
how.curt = Clean it {how.first}. | Rub it {how.first}.
tool = a soft cloth | warm water | a little brush | white soap | a wet sponge | lemon juice | fine sand | a dry towel |
    cold tea | olive oil

cost.question = what does the {topic} cost | how much is the {topic} | what is the price of the {topic} |
    how much should I pay for the {topic}
cost.first = {number} {metal} coins
cost.second = paid at the {desk} | with a gift of {number} sweets
cost.body = The {topic} costs {cost.first} | You can buy the {topic} for {cost.first} |
    We sell the {topic} for {cost.first}
cost.curt = It costs {cost.first}. | Pay {cost.first}.
metal = copper | silver | gold
desk = front desk | ticket office | little counter | main hall

topic = {adjective} {thing} | {adjective} {place}
answer = {.body}. | {.body}, {.second}.
full = {.body}, {.second}.
opening = Of course! | Certainly! | With pleasure! | Welcome, dear visitor! | Thank you for asking! | Good day to you!
offer = I will gladly help you further. | If you like, I can show you. | If you like, {person} will help you. |
    Please ask me again at any time.
closing = Have a {nice} {hours}! | I wish you a {nice} {hours}! | Enjoy your {nice} {hours}!
nice = lovely | pleasant | happy | wonderful
hours = day | morning | evening | visit
unsure = Maybe {person} knows about the {topic}. | Perhaps you could ask {person}. | I am unsure about the {topic}. |
    I guess that {person} knows it. | The {topic} is somewhere around, I think. | Sometimes {person} talks about it.
insult = Find out about the {topic} yourself, {excuse}. | Do not bother me about the {topic}, {excuse}. |
    What a silly question, {excuse}. | Only a fool would want the {topic}, {excuse}. | That is nonsense, {excuse}.
excuse = I am busy | I am having my tea | it is late | nobody cares | everybody knows that | we are not friends

plain = {answer}
curt = {.curt}
warm = {opening} {answer} | {answer} {closing} | {answer} {offer} | {opening} {full} {closing} |
    {opening} {full} {offer} | {opening} {answer} {offer} {closing}
vague = {unsure} | {unsure} {unsure}
rude = {insult} | {insult} {.curt}
contrary = {.body}. {oops} {.curt}
oops = No, wait!
"""


def _parse(language: str) -> dict[str, tuple[str, ...]]:
    lines = re.sub(r"\n +", " ", language).splitlines()
    rules = (line.split(" = ", 1) for line in lines if line)
    return {name: tuple(part.strip() for part in body.split("|")) for name, body in rules}


RULES = _parse(LANGUAGE)


@cache
def _parts(template: str, kind: str) -> tuple[str, ...]:
    """Literal text and rule names in turn; names stand at the odd places, made whole with the kind of question."""
    parts = re.split(r"\{(.*?)\}", template)
    return tuple(kind + part if i % 2 and part.startswith(".") else part for i, part in enumerate(parts))


def write(rng: random.Random, rule: str, kind: str, topic: str) -> str:
    """A random sentence of a rule, about one topic."""
    if rule == "topic":
        return topic
    parts = _parts(rng.choice(RULES[rule]), kind)
    return "".join(write(rng, part, kind, topic) if i % 2 else part for i, part in enumerate(parts))


def variants(rule: str, kind: str) -> int:
    """How many sentences a rule has about one topic."""
    if rule == "topic":
        return 1
    return sum(prod(variants(part, kind) for part in _parts(template, kind)[1::2]) for template in RULES[rule])


def regex(rule: str, kind: str = "") -> str:
    """A rule as a regular expression, to find its sentences in a text."""
    alternatives = []
    for template in RULES[rule]:
        parts = enumerate(_parts(template, kind))
        alternatives.append("".join(regex(part, kind) if i % 2 else re.escape(part) for i, part in parts))
    return f"(?:{'|'.join(alternatives)})"


def tokens(text: str) -> list[str]:
    """Words and signs, each line break a sign of its own."""
    return re.findall(r"\w+|[^\w ]", text)
