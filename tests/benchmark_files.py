"""Small files in exactly the published formats of FIUBench and MLLMU-Bench; all people are invented."""

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
