"""What no file of a data set says: who made it, what for, and under which terms."""

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """The judgements of a data card.

    Attributes:
        motivation: who made the set, and what for.
        collection: how slices and labels came about.
        distribution: where it comes from and under which terms.
        personal: what is known of the people in it.
        biases: what the counts cannot show.
    """

    motivation: str
    collection: str
    distribution: str
    personal: str
    biases: tuple[str, ...] = ()


_CT_KIDNEY = About(
    motivation='"CT KIDNEY DATASET: Normal-Cyst-Tumor and Stone" was made by Islam et al. to train '
    "classifiers of whole slices (Scientific Reports 2022, doi 10.1038/s41598-022-15634-4).",
    collection="By its authors' account the studies come from the picture archives of hospitals in "
    "Dhaka, Bangladesh, with and without contrast medium, axial and coronal; slices with the "
    "finding were chosen one diagnosis at a time, stripped of what names a patient, converted to "
    "pictures and looked at again by a radiologist and a technologist. The label is that of the "
    "slice's folder; nothing tells where on the slice the finding is.",
    distribution="On Kaggle (nazmul0087/ct-kidney-dataset-normal-cyst-tumor-and-stone). No licence "
    "was found: research use, and no redistribution. This repository holds no slice of it, and no "
    "trained weights.",
    personal="The set carries no names, ages, sexes or patient ids, and it is not known whether "
    "the patients agreed to this use. Do not try to find out who they are.",
    biases=(
        "All of it is from one city. How patients came to be in it, and how many were left out, is "
        "not told, so the shares of the classes are no prevalences.",
        "Slices were chosen because they show the finding; a scan has many that do not, and those "
        "are not here.",
        "The window that turned Hounsfield units into greys is not told and differs between scans.",
    ),
)
_PHANTOM = About(
    motivation="The phantom lets anyone run and test the whole road without a download. It was "
    "never meant to tell anything of patients.",
    collection="Drawn by kidney.data.phantom from a seed: bodies, kidneys and lesions with the "
    "sizes and places of real ones, with masks. Labels are true by construction.",
    distribution="Made where it is used, by code under Apache-2.0.",
    personal="Nobody is in it.",
    biases=(
        "Whatever its makers did not think of is missing: a model that is good here is unproven.",
    ),
)
_UNKNOWN = About(
    motivation="Not told by the files. Whoever uses this set should say who made it and what for.",
    collection="Not told by the files. Labels are those of folders, masks or a table, as the "
    "configuration of the set says.",
    distribution="Not told by the files. Ask for the terms before anything made of it is "
    "passed on.",
    personal="Not told by the files. Treat the slices as health data of people.",
)
_KNOWN = {"ct_kidney": _CT_KIDNEY, "phantom": _PHANTOM}


def about(name: str) -> About:
    """Return what is known of a set; `name` is that of its configuration, conf/data/NAME.yaml."""
    return _KNOWN.get(name, _UNKNOWN)
