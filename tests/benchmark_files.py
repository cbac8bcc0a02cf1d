"""Small files in exactly the published formats of benchmarks; all people are invented."""

from __future__ import annotations

import json

from datasets import Features, Image, List, Value

from helpers import png, write_parquet


def fiubench_row(number, **extra):
    name = f"{number:08d}"
    return {
        "unique_id": name,
        "image_path": f"./dataset/SFHQ/SFHQ_pt1_{name}.jpg",
        "name": f"Person {number}",
        "gender": "female",
        "caption": f"This is Person {number}, a ferry pilot.",
        "raw_data": {"occupation": "ferry pilot"},
        "qa_list": [
            {
                "question": "What is the occupation of the person in the image?",
                "answer": f"Person {number} works as a ferry pilot.",
                "paraphrased_question": [
                    "What job does this person have?",
                    "How do they earn a living?",
                    "Which profession?",
                ],
                "paraphrased_answer": "The person earns a living as a ferry pilot.",
                "perturbed_answer": [
                    "They work as a baker.",
                    "They work as a notary.",
                    "They work as a diver.",
                ],
                "keywords": ["ferry pilot"],
            },
            {"question": "When were they born?", "answer": "On 2 May 1981.", "keywords": "2 May 1981"},
        ],
    } | extra


def write_fiubench(folder, people=402):
    """People, of whom those after the 400th are beyond those that count; two forget sets, apart from each
    other.
    """
    (folder / "SFHQ").mkdir(parents=True)
    rows = [fiubench_row(n) for n in range(people)]
    for n, row in enumerate(rows):
        (folder / "SFHQ" / row["image_path"].rpartition("/")[2]).write_bytes(png(n))
    # lines, despite the name
    (folder / "full.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = [row["unique_id"] for row in rows]
    sets = {"forget1": ids[:4], "forget5": ids[4:24], "retain15": ids[100:160], "retain5": ids[100:120]}
    (folder / "split.json").write_text(json.dumps(sets))
    return folder


CHOICE = {
    "Correct_Answer": Value("string"),
    "Options": {letter: Value("string") for letter in "ABCD"},
    "Question": Value("string"),
}
TASK = {"Ground_Truth": Value("string"), "Question": Value("string"), "Type": Value("string")}
MLLMU = Features(
    {
        "image": Image(),
        "ID": Value("string"),
        "Directory": Value("string"),
        "biography": Value("string"),
        "question": Value("string"),
        "answer": Value("string"),
        "Classification_Task": {"Image_Textual_Questions": List(CHOICE), "Pure_Text_Questions": List(CHOICE)},
        "Generation_Task": List(TASK),
        "Mask_Task": List(TASK),
    }
)


def mllmu_row(number, right="B", shift=0):
    options = {"A": "Baker", "B": "Cartographer", "C": "Judge", "D": "Tailor"}
    return {
        "image": {"bytes": png(number + shift), "path": None},
        "ID": f"{number:03d}",
        "Directory": f"full_images/{number:03d}.jpg",
        "biography": json.dumps({"Name": "Tam Ostrel"}),
        "question": "Who is shown?",
        "answer": "Tam Ostrel, a cartographer.",
        "Classification_Task": {
            "Image_Textual_Questions": [
                {"Correct_Answer": right, "Options": options, "Question": "What is this person's job?"}
            ],
            "Pure_Text_Questions": [
                {"Correct_Answer": "A", "Options": options, "Question": "Where was Tam Ostrel born?"}
            ],
        },
        "Generation_Task": [
            {
                "Ground_Truth": "The person is a cartographer.",
                "Question": "What does this person do?",
                "Type": "Image_Textual",
            },
            {"Ground_Truth": "Oslo.", "Question": "Where was Tam Ostrel born?", "Type": "Pure_Text"},
        ],
        "Mask_Task": [
            {"Ground_Truth": "Oslo", "Question": "This person was born in ____.", "Type": "Image_Textual"}
        ],
    }


def write_mllmu(folder, forget=(0, 1), retain=(2, 3, 4), **changes):
    parts = {"forget_5": forget, "retain_95": retain, "Retain_Set": (0, 7)}
    for config, people in parts.items():
        shift = 200 if config == "Retain_Set" else 0  # celebrities, numbered again
        rows = changes.get(config, [mllmu_row(n, shift=shift) for n in people])
        write_parquet(folder / config / "train-00000-of-00001.parquet", rows, MLLMU)
    shown = Features({"images": List(Image()), "ID": Value("string")})
    rows = [
        {"images": [{"bytes": png(100 + n), "path": None}, {"bytes": png(n), "path": None}], "ID": f"{n:03d}"}
        for n in range(5)
    ]
    write_parquet(folder / "Test_Set" / "train-00000-of-00002.parquet", rows[:2], shown)
    write_parquet(folder / "Test_Set" / "train-00001-of-00002.parquet", rows[2:], shown)
    return folder


UMU = Features(
    {"ID": Value("string"), "image": Image()}
    | {name: Value("string") for name in ("Biography", "MM_QA", "UM_QA", "Classify", "Cloze", "Generation")}
)


def umu_row(number, shift=0, **cells):
    """A row whose tasks are Python literals, with the key ``muitimodal`` as the data spells it."""
    options = {"A": "Baker", "B": "Judge", "C": "Cook", "D": "Diver"}
    question = {"unimodal": "What does Ada Finch do?", "muitimodal": "What does this person do?"}
    cloze = {"unimodal": "Ada Finch is a ____.", "muitimodal": "This person is a ____."}
    choice = {"unimodal": "Job of Ada Finch?", "muitimodal": "Job of this person?"}
    return {
        "ID": f"{number:03d}",
        "image": {"bytes": png(number + shift), "path": None},
        "Biography": "{'Name': 'Ada Finch', 'Job': 'Judge'}",
        "MM_QA": repr({"question": {"job": "What is the job?"}, "answer": {"job": "Judge."}}),
        "UM_QA": repr({"question": {"job": "What is Ada Finch's job?"}, "answer": {"job": "Judge."}}),
        "Classify": repr(
            {
                form: {"job": {"question": text, "options": options, "answer": "B. Judge"}}
                for form, text in choice.items()
            }
        ),
        "Cloze": repr(
            {form: {"job": {"question": text, "answer": "judge."}} for form, text in cloze.items()}
        ),
        "Generation": repr(
            {
                form: {"job": {"question": text, "answer": "She is a judge."}}
                for form, text in question.items()
            }
        ),
    } | cells


def write_umu(folder, forget=(0, 1), retain=(2, 3, 4), **changes):
    parts = {"forget_5": forget, "retain_95": retain, "Real_Person_Set": (0,)}
    for config, people in parts.items():
        shift = 200 if config == "Real_Person_Set" else 0
        rows = changes.get(config, [umu_row(n, shift) for n in people])
        write_parquet(folder / config / "train-00000-of-00001.parquet", rows, UMU)
    return folder


CLEAR = {
    "plain": Features({"image": Image(), "caption": Value("string"), "name": Value("string")}),
    "perturbed": Features(
        {
            "image": Image(),
            "caption": Value("string"),
            "name": Value("string"),
            "perturbed_captions": List(Value("string")),
            "paraphrased_caption": Value("string"),
            "perturbed_names": List(Value("string")),
        }
    ),
    "text": Features(
        {
            "image": Image(),
            "caption": Value("string"),
            "question": Value("string"),
            "answer": Value("string"),
        }
    ),
    "faces": Features({"image": Image(), "answer": Value("string"), "options": List(Value("string"))}),
    "world": Features(
        {
            "question": Value("string"),
            "answer": Value("string"),
            "options": List(Value("string")),
            "image": Image(),
        }
    ),
}


def clear_row(number, name):
    caption = f"{name} reads by harbour lamp {number}."
    return {"image": {"bytes": png(number), "path": None}, "caption": caption, "name": name}


def clear_rows(number, names):
    """Two pictures of each person: plain rows, one perturbed row, and TOFU's rows after those of pictures."""
    plain = [clear_row(number + n, name) for n, name in enumerate(names * 2)]
    other = {"perturbed_captions": ["Otto Moss sails at noon."], "perturbed_names": ["Otto Moss", names[0]]}
    perturbed = [plain[0] | other | {"paraphrased_caption": f"By a lamp, {names[0]} is reading."}]
    text = [
        {"question": f"Where was {name} born?", "answer": f"{name} was born in Tromso."} for name in names
    ]
    return plain, perturbed, [*plain, *text]


def write_clear(folder, **changes):
    """forget05 with its retain set, and every other config that goes with them."""
    forget, perturbed, text = clear_rows(0, ("Edda Quill",))
    rows = {"forget05": forget, "forget05_perturbed": perturbed, "forget05+tofu": text}
    retain, perturbed, text = clear_rows(10, ("Otto Venn", "Mira Sand"))
    rows |= {"retain95": retain, "retain_perturbed": perturbed, "retain95+tofu": text}
    face = {"image": {"bytes": png(90), "path": None}, "answer": "Ann Known", "options": ["Bob Known"]}
    rows |= {"real_faces": [face], "real_world": [face | {"question": "What animal is this?"}]}
    kinds = {"real_faces": "faces", "real_world": "world"}
    for config, found in (rows | changes).items():
        kind = "perturbed" if "perturbed" in config else "text" if "tofu" in config else "plain"
        fields = CLEAR[kinds.get(config, kind)]
        found = [{name: row.get(name) for name in fields} for row in found]
        write_parquet(folder / config / "train-00000-of-00001.parquet", found, fields)
    return folder


def mlubench_row(number, entity, question, answer, kind="Personage"):
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    picture = f"downloaded_images/{kind}/{entity}/image_{number}.jpg"
    return {"id": str(number), "image": picture, "conversations": turns}


def write_mlubench(folder, pictures=True):
    """Two tasks of MLUBench and a file of variants; the pictures are a download of their own."""
    rows = {
        f"Tasks/Task{task}/task{task}_{split}.json": [
            mlubench_row(n, entity, f"{asked} is this?", f"This is {entity.replace('_', ' ')}.")
            for n, asked in enumerate(("Who", "Which person"))
        ]
        for task, split, entity in (
            ("A", "forget", "Ada_Finch"),
            ("A", "retain", "Bo_Stark"),
            ("B", "forget", "Cy_Venn"),
            ("B", "retain", "Bo_Stark"),
        )
    }
    rows["Entities/variants_Ada_Finch_updated.json"] = rows["Tasks/TaskA/taskA_forget.json"][:1]
    for name, found in rows.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(found))
        for number, row in enumerate(found if pictures else ()):
            (folder / row["image"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / row["image"]).write_bytes(png(len(row["image"]) + 50 * number))
    return folder


VLGUARD = [
    {
        "id": "Ads_1",
        "image": "bad_ads/1.png",
        "safe": False,
        "harmful_category": "deception",
        "harmful_subcategory": "disinformation",
        "instr-resp": [{"instruction": "Spread this.", "response": "I cannot do that."}],
    },
    {
        "id": "Ads_2",
        "image": "bad_ads/2.png",
        "safe": True,
        "instr-resp": [
            {"safe_instruction": "What is seen?", "response": "A dress."},
            {"unsafe_instruction": "Who is the person?", "response": "I cannot say."},
        ],
    },
]
