"""The synthetic corpus of the demo model: short chats about sums, counting, days, months, opposites and stories.

Every chat is a list of (role, text) pairs. A topic is a function of a random generator that returns turns: pairs of
question and answer, the first question standing on its own, later ones leaning on what was said before.

Held out of training: one question in ten (by a hash of its normalized text, so that case, spaces and punctuation do not
leak it), and one pair in ten of the numbers above 20 in every sum and difference (by a hash of the pair).
"""

import hashlib
import json
import random
import re
import sys

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = ["winter", "winter", "spring", "spring", "spring", "summer", "summer", "summer", "autumn", "autumn", "autumn", "winter"]
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
UNITS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
         "seventeen eighteen nineteen twenty").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

OPPOSITES = [tuple(pair.split("/")) for pair in (
    "hot/cold big/small up/down left/right in/out day/night black/white fast/slow high/low old/young open/closed "
    "happy/sad good/bad wet/dry full/empty hard/soft long/short light/dark early/late near/far rich/poor strong/weak "
    "true/false yes/no on/off loud/quiet clean/dirty thick/thin wide/narrow deep/shallow first/last begin/end "
    "start/stop push/pull give/take buy/sell love/hate laugh/cry win/lose find/hide always/never before/after "
    "above/below inside/outside front/back top/bottom north/south east/west brave/afraid kind/mean easy/difficult "
    "cheap/expensive tall/tiny sweet/sour smooth/rough sharp/blunt safe/dangerous asleep/awake alive/dead "
    "busy/idle calm/angry clever/foolish tight/loose heavy/weightless more/less many/few summer/winter "
    "morning/evening friend/enemy boy/girl man/woman king/queen brother/sister war/peace question/answer "
    "arrive/leave remember/forget float/sink build/destroy same/different right/wrong sunrise/sunset").split()]
# A word with two partners above answers with the first one.
OPPOSITE = {}
for _first, _second in OPPOSITES:
    OPPOSITE.setdefault(_first, _second)
    OPPOSITE.setdefault(_second, _first)

SOUNDS = {"cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink", "horse": "neigh",
          "bee": "buzz", "mouse": "squeak", "owl": "hoot", "frog": "ribbit", "lion": "roar", "snake": "hiss"}
COLOURS = {"the sky": "blue", "grass": "green", "snow": "white", "the sun": "yellow", "a lemon": "yellow", "coal": "black",
           "blood": "red", "a banana": "yellow", "a carrot": "orange", "a strawberry": "red", "milk": "white",
           "a leaf": "green", "the sea": "blue", "the night": "black", "a cherry": "red", "a frog": "green"}
THINGS = "apples pears books coins stones cups balls cards eggs stars cookies pencils flowers shells toys".split()
NAMES = ("Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tom Nina Max Lucy "
         "Peter Sara Victor Zoe Alice Bob Eva Karl Lena Martin Julia Oscar Maria John Mary James Laura Simon").split()

ABOUT = "I am the libchord demo model, a very small language model."
CAN = "I can do small sums, count, name days and months, give opposites and tell short stories."
UNKNOWN = "I do not know that. " + CAN
TOO_BIG = "That is too big for me. I know numbers up to 99."


def words_of(number):
    """The English words of a number from 0 to 99."""
    if number <= 20:
        return UNITS[number]
    tens, unit = divmod(number, 10)
    return TENS[tens - 2] + ("-" + UNITS[unit] if unit else "")


def normalized(question):
    """What makes two questions the same one: letters, digits and operators, in lower case."""
    return re.sub(r"[^a-z0-9+\-*/]", "", question.lower())


def bucket(text):
    return hashlib.sha256(text.encode()).digest()[0] % 10


def pair_is_unseen(kind, a, b):
    """Pairs of numbers that no training text of this kind holds, in either order."""
    return max(a, b) > 20 and bucket(f"{kind} {min(a, b)} {max(a, b)}") == 0


# --- Sums -----------------------------------------------------------------------------------------------------------

SYMBOLIC = ["What is {x}?", "What's {x}?", "{x}", "{x}=", "{x}=?", "{x} =", "{x} = ?", "{x}?", "How much is {x}?", "What does {x} equal?", "Calculate {x}.",
            "Compute {x}.", "Solve {x}.", "Tell me {x}.", "Can you tell me what {x} is?", "What is the answer to {x}?",
            "What is the result of {x}?", "Do you know what {x} is?", "What does {x} make?", "Work out {x}.", "And {x}?"]
ADD = ["What is the sum of {a} and {b}?", "Add {a} and {b}.", "Add {b} to {a}.", "What do you get if you add {a} and {b}?", "Sum {a} and {b}.",
       "What is {a} and {b} together?", "Please add {a} and {b}.", "What do {a} and {b} make?",
       "How much is {a} and {b}?"]
SUBTRACT = ["Subtract {b} from {a}.", "Take {b} away from {a}.", "What is {a} take away {b}?", "What is {a} less {b}?",
            "What is the difference between {a} and {b}?", "What do you get if you subtract {b} from {a}?"]
MULTIPLY = ["Multiply {a} by {b}.", "What is the product of {a} and {b}?", "What is {a} multiplied by {b}?", "Multiply {a} and {b}."]
DIVIDE = ["Divide {a} by {b}.", "What is {a} divided by {b}?"]
ADD_STORY = ["I have {a} {t} and get {b} more. How many {t} do I have?", "{n} has {a} {t} and finds {b} more. How many {t} does {n} have now?",
             "There are {a} {t} on the table. I put {b} more there. How many {t} are there?"]
SUBTRACT_STORY = ["I have {a} {t} and give away {b}. How many {t} are left?", "{n} has {a} {t} and loses {b}. How many {t} are left?",
                  "There are {a} {t} on the table. {n} takes {b}. How many {t} are left?"]
OPERATORS = {"add": (["+", " + "], " plus "), "subtract": (["-", " - "], " minus "),
             "multiply": (["*", " * ", " x ", "x"], " times "), "divide": (["/", " / "], " divided by ")}
PHRASES = {"add": ADD, "subtract": SUBTRACT, "multiply": MULTIPLY, "divide": DIVIDE}
TALES = {"add": ADD_STORY, "subtract": SUBTRACT_STORY}


def result_of(kind, a, b):
    return {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a // max(b, 1)}[kind]


def operands(rng):
    """A kind of sum and its two numbers; most of them small, the rest up to 99."""
    kind = rng.choices(["add", "subtract", "multiply", "divide"], [10, 8, 3, 1])[0]
    if kind in ("multiply", "divide"):
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        return (kind, a, b) if kind == "multiply" else (kind, a * max(b, 1), max(b, 1))
    top = rng.choices([10, 20, 99], [3, 5, 3])[0]
    a, b = rng.randint(0, top), rng.randint(0, top)
    if kind == "subtract" and a < b and rng.random() < 0.85:
        a, b = b, a
    return kind, a, b


def sum_question(rng, kind, a, b):
    in_words = max(a, b) <= 20 and rng.random() < 0.2
    first, second = (words_of(a), words_of(b)) if in_words else (str(a), str(b))
    form = rng.random()
    if form < 0.12 and kind in TALES and a >= (b if kind == "subtract" else 0):
        return rng.choice(TALES[kind]).format(a=a, b=b, t=rng.choice(THINGS), n=rng.choice(NAMES))
    if form < 0.35 and not (kind == "subtract" and a < b):
        return rng.choice(PHRASES[kind]).format(a=first, b=second)
    symbols, word = OPERATORS[kind]
    operator = word if in_words or rng.random() < 0.3 else rng.choice(symbols)
    return rng.choice(SYMBOLIC).format(x=first + operator + second)


def sums(rng):
    while True:
        kind, a, b = operands(rng)
        if not pair_is_unseen(kind, a, b):
            break
    value = result_of(kind, a, b)
    turns = [(sum_question(rng, kind, a, b), str(value))]
    while rng.random() < 0.2:
        step = rng.randint(1, 10)
        if rng.random() < 0.6 or step > value:
            if value > 99 or pair_is_unseen("add", value, step):
                break
            form, value = rng.choice(["Plus {}?", "And plus {}?", "Now add {}.", "Add {}.", "And {} more?", "+{}", "+ {}"]), value + step
        else:
            if value > 99 or pair_is_unseen("subtract", value, step):
                break
            form, value = rng.choice(["Minus {}?", "And minus {}?", "Now subtract {}.", "Take away {}.", "-{}", "- {}"]), value - step
        turns.append((form.format(step), str(value)))
    return turns


def comparison(rng):
    a, b = rng.sample(range(0, 100), 2)
    if rng.random() < 0.5:
        word, value = rng.choice([("bigger", max), ("larger", max), ("greater", max), ("more", max), ("smaller", min), ("less", min)])
        return [(rng.choice(["Which is {w}, {a} or {b}?", "What is {w}, {a} or {b}?", "Which number is {w}: {a} or {b}?"]).format(w=word, a=a, b=b),
                 str(value(a, b)))]
    return [(rng.choice(["Is {a} even or odd?", "Is {a} odd or even?", "Is the number {a} even or odd?"]).format(a=a), "odd" if a % 2 else "even")]


# --- Counting -------------------------------------------------------------------------------------------------------

def listing(values):
    return ", ".join(map(str, values))


def counting(rng):
    form = rng.random()
    if form < 0.55:
        low = rng.randint(0, 40)
        high = low + rng.randint(1, rng.choice([8, 12, 20]))
        if form < 0.4:
            return [(rng.choice(["Count from {} to {}.", "Count from {} to {}", "Count up from {} to {}.", "Please count from {} to {}.",
                                 "Can you count from {} to {}?", "Count {} to {}.", "List the numbers from {} to {}."]).format(low, high),
                     listing(range(low, high + 1)))]
        return [(rng.choice(["Count down from {} to {}.", "Count backwards from {} to {}.", "Count from {} to {}.", "Count from {} down to {}."])
                 .format(high, low), listing(range(high, low - 1, -1)))]
    if form < 0.65:
        high = rng.randint(2, 30)
        return [(rng.choice(["Count to {}.", "Can you count to {}?", "Count up to {}.", "Please count to {}."]).format(high), listing(range(1, high + 1)))]
    if form < 0.7:
        high = rng.randint(2, 20)
        return [(rng.choice(["Count down from {}.", "Count backwards from {}."]).format(high), listing(range(high, -1, -1)))]
    if form < 0.8:
        step, count = rng.choice([2, 5, 10]), rng.randint(3, 9)
        name = {2: "twos", 5: "fives", 10: "tens"}[step]
        low = step * rng.randint(0, 3)
        high = low + step * count
        return [(rng.choice(["Count by {w} from {a} to {b}.", "Count in {w} from {a} to {b}.", "Count by {s} from {a} to {b}."])
                 .format(w=name, s=step, a=low, b=high), listing(range(low, high + 1, step)))]
    value = rng.randint(1, 98)
    offset, word = rng.choice([(1, "after"), (-1, "before")])
    turns = [(rng.choice(["What comes {w} {n}?", "What number comes {w} {n}?", "Which number is {w} {n}?", "What is the number {w} {n}?"])
              .format(w=word, n=value), str(value + offset))]
    while rng.random() < 0.3 and 2 <= value + 2 * offset <= 98:
        value += offset
        turns.append((rng.choice([f"And {word} that?", "And then?", "And next?"] if offset > 0 else [f"And {word} that?"]), str(value + offset)))
    return turns


# --- Days and months ------------------------------------------------------------------------------------------------

def neighbours(rng, names, kind):
    """What comes before or after a day or month, with follow-ups."""
    at = rng.randrange(len(names))
    offset, word = rng.choice([(1, "after"), (-1, "before")])
    forms = ["What {k} comes {w} {n}?", "What comes {w} {n}?", "Which {k} comes {w} {n}?", "Which {k} is {w} {n}?", "What is the {k} {w} {n}?",
             "What {k} is {w} {n}?", "Tell me the {k} {w} {n}.", "Do you know which {k} comes {w} {n}?", "The {k} {w} {n}?", "What's {w} {n}?",
             "Name the {k} {w} {n}.", "{k} {w} {n}?"]
    if offset > 0:
        forms += ["What {k} follows {n}?", "Which {k} follows {n}?", "What follows {n}?"]
    turns = [(rng.choice(forms).format(k=kind, w=word, n=names[at]), names[(at + offset) % len(names)])]
    at += offset
    while rng.random() < 0.3:
        if rng.random() < 0.7:
            turns.append((rng.choice([f"And {word} that?", f"What comes {word} that?"] + (["And then?", "And the next?"] if offset > 0 else [])),
                          names[(at + offset) % len(names)]))
            at += offset
        else:
            at = rng.randrange(len(names))
            turns.append((f"And {word} {names[at]}?", names[(at + offset) % len(names)]))
            at += offset
    return turns


def days(rng):
    if rng.random() < 0.6:
        return neighbours(rng, DAYS, "day")
    at = rng.randrange(7)
    form = rng.randrange(8)
    if form == 0:
        return [(rng.choice(["What are the days of the week?", "Name the days of the week.", "List the days of the week.", "Tell me the days of the week.",
                             "What days are there?", "List the days.", "Which days does a week have?", "Say the days of the week."]), listing(DAYS))]
    if form == 1:
        return [(rng.choice(["How many days are in a week?", "How many days are there in a week?", "How many days does a week have?"]), "7")]
    if form == 2:
        offset, word = rng.choice([(1, "tomorrow"), (-1, "yesterday")])
        verb = "is" if offset > 0 else "was"
        return [(rng.choice(["If today is {d}, what day {v} {w}?", "Today is {d}. What day {v} {w}?", "What day {v} {w} if today is {d}?"])
                 .format(d=DAYS[at], v=verb, w=word), DAYS[(at + offset) % 7])]
    if form == 3:
        count, (sign, word) = rng.randint(2, 4), rng.choice([(1, "after"), (-1, "before")])
        amount = rng.choice([str(count), UNITS[count]])
        return [(rng.choice(["What day is {c} days {w} {d}?", "Which day is {c} days {w} {d}?", "What day comes {c} days {w} {d}?"])
                 .format(c=amount, w=word, d=DAYS[at]), DAYS[(at + sign * count) % 7])]
    if form == 4:
        return [(rng.choice(["What is the {o} day of the week?", "Which is the {o} day of the week?", "Which day is the {o} of the week?"])
                 .format(o=ORDINALS[at]), DAYS[at])]
    if form == 5:
        return [(rng.choice(["Is {d} a weekend day?", "Is {d} on the weekend?", "Is {d} part of the weekend?"]).format(d=DAYS[at]), "yes" if at > 4 else "no")]
    if form == 6:
        return [(rng.choice(["Which days are the weekend?", "What days are the weekend?", "When is the weekend?"]), "Saturday, Sunday")]
    low = rng.randrange(6)
    high = rng.randint(low + 1, 6)
    return [(rng.choice(["List the days from {} to {}.", "Name the days from {} to {}.", "Which days are from {} to {}?"]).format(DAYS[low], DAYS[high]),
             listing(DAYS[low:high + 1]))]


def months(rng):
    if rng.random() < 0.6:
        return neighbours(rng, MONTHS, "month")
    at = rng.randrange(12)
    form = rng.randrange(7)
    if form == 0:
        return [(rng.choice(["What are the months of the year?", "Name the months of the year.", "List the months.", "Tell me the months of the year.",
                             "List the months of the year.", "Which months does a year have?", "Say the months of the year."]), listing(MONTHS))]
    if form == 1:
        return [(rng.choice(["How many months are in a year?", "How many months are there in a year?", "How many months does a year have?"]), "12")]
    if form == 2:
        return [(rng.choice(["How many days are in {m}?", "How many days does {m} have?", "How many days are there in {m}?", "How long is {m}?"])
                 .format(m=MONTHS[at]), str(MONTH_DAYS[at]) + (" or 29" if at == 1 else ""))]
    if form == 3:
        return [(rng.choice(["What is the {o} month?", "What is the {o} month of the year?", "Which month is the {o}?", "Which is the {o} month of the year?",
                             "Name the {o} month."]).format(o=ORDINALS[at]), MONTHS[at])]
    if form == 4:
        return [(rng.choice(["Which month is number {n}?", "What is month number {n}?", "What is month {n}?"]).format(n=at + 1), MONTHS[at])]
    if form == 5:
        return [(rng.choice(["In which season is {m}?", "Which season is {m} in?", "What season is {m}?", "Is {m} in summer or winter?" if SEASONS[at] in
                             ("summer", "winter") else "What season is {m} in?"]).format(m=MONTHS[at]), SEASONS[at])]
    low = rng.randrange(11)
    high = rng.randint(low + 1, 11)
    return [(rng.choice(["List the months from {} to {}.", "Name the months from {} to {}.", "Which months are from {} to {}?"])
             .format(MONTHS[low], MONTHS[high]), listing(MONTHS[low:high + 1]))]


# --- Opposites and small facts --------------------------------------------------------------------------------------

def opposites(rng):
    word = rng.choice(list(OPPOSITE))
    turns = [(rng.choice(["What is the opposite of {}?", "What's the opposite of {}?", "The opposite of {}?", "Opposite of {}", "Tell me the opposite of {}.",
                          "Give me the opposite of {}.", "What is opposite to {}?", "Name the opposite of {}.", "Which word is the opposite of {}?",
                          "Do you know the opposite of {}?", "What is the contrary of {}?", "What word means the opposite of {}?",
                          "Opposite of {}?", "Say the opposite of {}.", "Can you give me the opposite of {}?"]).format(word), OPPOSITE[word])]
    while rng.random() < 0.25:
        word = rng.choice(list(OPPOSITE))
        turns.append((rng.choice(["And of {}?", "And {}?", "And the opposite of {}?", "What about {}?"]).format(word), OPPOSITE[word]))
    return turns


def facts(rng):
    if rng.random() < 0.5:
        animal = rng.choice(list(SOUNDS))
        return [(rng.choice(["What does a {} say?", "What sound does a {} make?", "What does the {} say?", "Which sound does a {} make?"])
                 .format(animal).replace("a owl", "an owl"), SOUNDS[animal])]
    thing = rng.choice(list(COLOURS))
    return [(rng.choice(["What color is {}?", "What colour is {}?", "Which color does {} have?", "Which colour is {}?", "What is the color of {}?"])
             .format(thing), COLOURS[thing])]


# --- Talk -----------------------------------------------------------------------------------------------------------

TALK = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hey", "Hi there", "Hello there!", "Good day", "Greetings", "Hey there", "Howdy", "Hello, model!"],
     ["Hello! How can I help you?"]),
    (["Good morning", "Good morning!"], ["Good morning! How can I help you?"]),
    (["Good evening", "Good evening!"], ["Good evening! How can I help you?"]),
    (["Good night", "Good night!"], ["Good night! Sleep well."]),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?", "How is it going?", "How's it going?", "What's up?"],
     ["I am fine, thank you. How can I help you?"]),
    (["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "What is your name?", "What's your name?", "Do you have a name?",
      "Who am I talking to?", "What model are you?", "Which model is this?", "Are you an AI?", "Are you a robot?", "Are you a language model?",
      "Are you human?", "Are you a person?"], [ABOUT]),
    (["What can you do?", "What can I ask you?", "Help", "Help me", "Can you help me?", "What do you know?", "How can you help me?", "What are you good at?",
      "What should I ask?", "What do you do?", "I need help"], [CAN]),
    (["Who made you?", "Who trained you?", "Where do you come from?", "Who built you?", "How were you made?", "Who created you?"],
     ["The libchord project trained me on texts that it made itself."]),
    (["What is libchord?", "Tell me about libchord.", "What is chord?", "Do you know libchord?", "What does libchord do?", "Explain libchord."],
     ["libchord is a library that runs language models inside other programs."]),
    (["How big are you?", "How small are you?", "What size are you?", "How many parameters do you have?"], ["I am tiny: about two and a half million weights."]),
    (["Thanks", "Thank you", "Thank you!", "Thanks a lot", "Thanks!", "Thank you very much", "Thx", "Cheers"], ["You are welcome."]),
    (["Bye", "Goodbye", "Bye bye", "See you", "See you later", "Goodbye!", "Bye!", "Farewell", "I have to go"], ["Goodbye! Have a nice day."]),
    (["Yes", "No", "Ok", "Okay", "Good", "Great", "Nice", "Cool", "Well done", "Very good", "Good job", "Right", "I see"], ["Good. What else can I do for you?"]),
    (["Sorry", "I am sorry", "Oops"], ["No problem. What can I do for you?"]),
    (["Tell me a joke.", "Do you know a joke?", "Say something funny.", "A joke, please"], ["Why was six afraid of seven? Because seven ate nine."]),
    (["I am sad", "I feel sad", "I am sad today", "I am not happy"], ["I am sorry to hear that. Shall I tell you a story?"]),
    (["I am happy", "I feel good", "I am fine", "I feel great"], ["That is nice to hear!"]),
]

COUNTRIES = "France Germany Spain Italy Japan China India Brazil Canada Egypt Kenya Peru Norway Poland Greece Chile England America Russia Mexico".split()
SUBJECTS = ("quantum physics,love,gravity,the moon,computers,music,football,history,the weather,the brain,money,politics,art,chess,cooking,dinosaurs,"
            "electricity,trees,water,time,space,cars,trains,bread,philosophy,chemistry,the internet,mathematics,Rome,Paris,Shakespeare,Einstein,Mars").split(",")
STRANGE = ["What is the capital of {c}?", "Who is the president of {c}?", "How many people live in {c}?", "Where is {c}?", "Explain {s}.", "What is {s}?",
           "What do you think about {s}?", "Write a poem about {s}.", "Write a program about {s}.", "Who invented {s}?", "How does {s} work?",
           "Why is {s} important?", "Translate {s} into French.", "What is the meaning of life?", "What time is it?", "What day is today?", "What is the weather?",
           "How old are you?", "Where are you?", "Who wrote {s}?", "Write code for {s}.", "What is the best book about {s}?", "When was {c} founded?",
           "Do you like {s}?", "What language do they speak in {c}?", "How far is {c}?", "Can you cook?", "Sing a song about {s}.", "Tell me about {s}.",
           "Tell me about {c}.", "Tell me something about {s}.", "What happened in {c}?", "How do I get to {c}?", "How do I learn {s}?", "Why?", "Who is {n}?"]


def talk(rng):
    questions, answers = rng.choice(TALK)
    return [(rng.choice(questions), rng.choice(answers))]


def too_big(rng):
    low = rng.choice([100, 100, 1000])
    if rng.random() < 0.3:
        return [(rng.choice(["Count to {}.", "Count from 1 to {}.", "Can you count to {}?"]).format(rng.randint(low, 9 * low)), TOO_BIG)]
    kind = rng.choice(list(OPERATORS))
    numbers = [rng.randint(low, 10 * low - 1), rng.randint(0, 10 * low - 1)]
    rng.shuffle(numbers)
    return [(sum_question(rng, kind, *numbers), TOO_BIG)]


def strange(rng):
    if rng.random() < 0.3:
        return too_big(rng)
    return [(rng.choice(STRANGE).format(c=rng.choice(COUNTRIES), s=rng.choice(SUBJECTS), n=rng.choice(NAMES)), UNKNOWN)]


def name_memory(rng):
    name = rng.choice(NAMES) if rng.random() < 0.5 else invented_name(rng)
    turns = [(rng.choice(["My name is {}.", "I am {}.", "Hello, I am {}.", "Hi, my name is {}.", "I'm {}.", "Call me {}."]).format(name),
              f"Nice to meet you, {name}!")]
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        topic = rng.choice([sums, days, opposites, months])
        turns += seen_turns(rng, topic)[:1]
    turns.append((rng.choice(["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?", "Do you know my name?", "Say my name."]),
                  f"Your name is {name}."))
    return turns


def invented_name(rng):
    parts = [rng.choice("B C D F G H J K L M N P R S T V W Z Sh Ch Th Br".split())]
    for _ in range(rng.randint(1, 3)):
        parts += [rng.choice("a e i o u a e i o ee ai".split()), rng.choice("n r l m s t d k ll nn b v x th".split())]
    return "".join(parts) + rng.choice(["", "", "a", "o", "y"])


# --- Stories --------------------------------------------------------------------------------------------------------

HEROES = "cat dog fox bear mouse rabbit frog bird duck horse owl lion sheep pig hen turtle robot dragon girl boy king fish bee snail wolf".split()
VISITORS = ("astronaut pirate princess knight wizard teacher farmer tiger elephant monkey penguin kitten puppy ghost giant fairy witch sailor baker "
            "painter doctor queen prince train car cloud star tree flower butterfly ant spider whale shark dolphin squirrel hedgehog deer goat "
            "donkey camel parrot eagle crow swan goose kangaroo panda zebra giraffe crocodile dinosaur unicorn snowman clown").split()
PLACES = ("in a deep forest|in a small house by the sea|on a green hill|in a quiet village|near a blue lake|in an old castle|on a farm|"
          "in a big city|by a river|under a tall tree").split("|")
TRAITS = "small brave lazy clever kind curious lonely happy shy funny hungry quiet".split()
TROUBLES = [("lost {p} red ball", "looked everywhere for it", "found the ball under a bush", "played until the evening"),
            ("was very hungry", "looked for something to eat", "found a basket full of apples", "shared them with a friend"),
            ("wanted to see the sea", "walked for three days", "saw the wide blue water", "danced on the sand"),
            ("could not sleep", "counted the stars in the sky", "counted up to one hundred", "fell asleep at last"),
            ("was afraid of the dark", "lit a little lamp", "saw that nothing was there", "laughed about it"),
            ("had no friends", "went out to look for one", "met a friendly {f}", "was never lonely again"),
            ("heard a strange noise", "went to see what it was", "found a {f} that was stuck", "helped it to get free"),
            ("wanted to learn to sing", "asked a {f} for help", "practiced every day", "sang a song for everyone"),
            ("found an old map", "followed it over the hills", "dug up a box of gold coins", "gave half of them away"),
            ("got lost in the rain", "waited under a big leaf", "saw a rainbow in the sky", "found the way home"),
            ("broke a window", "wanted to hide it", "told the truth in the end", "felt much better"),
            ("planted a tiny seed", "watered it every morning", "saw a flower grow", "smiled all day")]
ENDINGS = ["It was a good day.", "From then on, life was good.", "And they lived happily ever after.", "That night everyone slept well.",
           "It is good to have a friend.", "Never give up!", "It was the best day of the year."]
SHE = "girl hen princess queen witch fairy".split()
HE = "boy king prince knight wizard pirate".split()


def story_text(rng, hero=None):
    hero = hero or rng.choice(HEROES)
    they, their = ("she", "her") if hero in SHE else ("he", "his") if hero in HE else ("it", "its")
    friend = rng.choice([h for h in HEROES if h != hero])
    name = rng.choice(NAMES)
    trouble, attempt, luck, close = (part.format(p=their, f=friend) for part in rng.choice(TROUBLES))
    trait = rng.choice(TRAITS)
    lead = rng.choice([f"Once upon a time there was a {trait} {hero} called {name}.", f"Once there was a {trait} {hero}. Its name was {name}."
                       if they == "it" else f"Once there was a {trait} {hero} called {name}."])
    return " ".join([lead, f"{name} lived {rng.choice(PLACES)}.", f"One day {name} {trouble}.", f"So {they} {attempt}.",
                     f"{rng.choice(['Then', 'After a while', 'In the end', 'Soon'])} {name} {luck}.", f"{name} {close}.", rng.choice(ENDINGS)])


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def stories(rng):
    turns = []
    if rng.random() < 0.35:
        turns.append((rng.choice(["Tell me a story.", "Tell me a short story.", "A story, please.", "Can you tell me a story?", "Write a short story.",
                                  "I want to hear a story.", "Tell a story.", "Please tell me a story.", "Do you know a story?", "Write a story."]),
                      story_text(rng)))
    else:
        hero = rng.choice(HEROES + VISITORS)
        turns.append((rng.choice(["Tell me a story about {}.", "Tell me a short story about {}.", "A story about {}, please.", "Can you tell me a story about {}?",
                                  "Write a short story about {}.", "Write a story about {}.", "I want a story about {}.", "Do you know a story about {}?"])
                      .format(article(hero)), story_text(rng, hero)))
    if rng.random() < 0.15:
        hero = rng.choice(HEROES)
        turns.append(rng.choice([("Another one!", story_text(rng)), ("Tell me another story.", story_text(rng)),
                                 (f"And one about {article(hero)}?", story_text(rng, hero)), ("One more, please.", story_text(rng))]))
    return turns


# --- Chats ----------------------------------------------------------------------------------------------------------

TOPICS = [(sums, 44), (comparison, 4), (counting, 10), (days, 8), (months, 8), (opposites, 8), (facts, 2), (talk, 8), (strange, 4),
          (name_memory, 3), (stories, 5)]
CHECKED = {sums, comparison, counting, days, months, opposites}
SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant.", "Answer briefly.", "You are the libchord demo model.", "Be kind and brief.",
           "You are a teacher.", "You are a helpful AI assistant."]
ALWAYS_SEEN = {normalized("What is 2+2?")}


def is_held_out(question):
    key = normalized(question)
    return bucket(key) == 0 and key not in ALWAYS_SEEN


def noisy(rng, text):
    """A question as people type it: other case, no final mark, a slip of the finger."""
    if rng.random() < 0.45:
        return text
    if rng.random() < 0.3 and text[-1] in ".?!":
        text = text[:-1] + rng.choice(["", "", " ?" if text[-1] == "?" else "", "??" if text[-1] == "?" else "!"])
    if rng.random() < 0.12 and text[0].isalpha():
        lead = rng.choice(["Please ", "Hey, ", "Hi, ", "Hello! ", "Ok, ", "So ", "Well, ", "Now "])
        text = lead + (text if lead.endswith("! ") or text.startswith("I ") else text[0].lower() + text[1:])
    if rng.random() < 0.05 and text[-1] == "?":
        text = text[:-1] + rng.choice([", please?", " please", ", thanks"])
    if rng.random() < 0.12:
        spots = [m.start() for m in re.finditer(r"(?<=[a-z])[a-z](?=[a-z])", text)]
        if spots:
            at = rng.choice(spots)
            text = rng.choice([text[:at] + text[at + 1:], text[:at] + text[at] + text[at:], text[:at - 1] + text[at] + text[at - 1] + text[at + 1:]])
    if rng.random() < 0.08:
        text = text.replace("'", "")
    case = rng.random()
    return text.lower() if case < 0.4 else text.upper() if case < 0.44 else text


def seen_turns(rng, topic):
    """Turns of a topic whose first question, the one that stands on its own, is not held out."""
    while True:
        turns = topic(rng)
        if topic not in CHECKED or not is_held_out(turns[0][0]):
            return turns


def chat(rng):
    """One training chat. Names keep their case, because the answer repeats them."""
    if rng.random() < 0.02:
        return [("text", story_text(rng))]
    messages = [("system", rng.choice(SYSTEMS))] if rng.random() < 0.1 else []
    topics = rng.choices([1, 2, 3, 4, 6, 10], [58, 20, 12, 6, 3, 1])[0]
    for _ in range(topics):
        topic = rng.choices([t for t, _ in TOPICS], [w for _, w in TOPICS])[0]
        for question, answer in seen_turns(rng, topic):
            keeps_case = "to meet you" in answer
            messages += [("user", question if keeps_case else noisy(rng, question)), ("assistant", answer)]
    return messages


def held_out(rng, per_kind):
    """The held-out questions by kind, each with its one right answer (stories: a text whose perplexity is measured)."""
    kinds = {"sums": sums, "comparison": comparison, "counting": counting, "days": days, "months": months, "opposites": opposites}
    rows = []
    for kind, topic in kinds.items():
        seen = set()
        while len(seen) < per_kind:
            question, answer = topic(rng)[0]
            if is_held_out(question) and question not in seen:
                seen.add(question)
                rows.append({"kind": kind, "user": question, "assistant": answer})
    for kind in ("add", "subtract"):
        seen = set()
        while len(seen) < per_kind:
            a, b = rng.randint(0, 99), rng.randint(0, 99)
            a, b = (max(a, b), min(a, b)) if kind == "subtract" else (a, b)
            if pair_is_unseen(kind, a, b) and (a, b) not in seen:
                seen.add((a, b))
                rows.append({"kind": "unseen pairs", "user": sum_question(rng, kind, a, b), "assistant": str(result_of(kind, a, b))})
    return rows


def held_out_stories(rng, count):
    """Stories of the generator: the choices inside are random, so only their perplexity says something."""
    return [{"kind": "stories", "user": q, "assistant": a} for q, a in (stories(rng)[0] for _ in range(count))]


def main():
    rng = random.Random(2026)
    rows = held_out(rng, 40) + held_out_stories(rng, 12)
    with open(sys.argv[1] if len(sys.argv) > 1 else "heldout.jsonl", "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
