"""What to tell someone who has not got a data set yet."""

RELEASE = "the Ultra-FGVC release (Yu et al., ICCV 2021; https://github.com/XiaohanYu-GU/Ultra-FGVC)"


def how_to_get(dataset: dict) -> str:
    """How to get the data set of the node `dataset`, in a sentence or two."""
    name = dataset["name"]
    if dataset.get("expected"):  # only the named sets know their counts
        return (f"{name} belongs to {RELEASE}: unpack it, run `python -m ufgir.prepare raw=DIR out=DIR`, "
                f"and give dataset.root=DIR/{name}, or DIR as data_root or in the variable UFGIR_DATA")
    if dataset["format"] == "folder":
        return "Give dataset.root=DIR, a folder that holds one folder of images for each class"
    if dataset["format"] == "leaves":
        return "Give dataset.root=DIR, where the leaves are to be rendered"
    return ("Give dataset.root=DIR, a folder with train_val.csv and test.csv (for protocol=val: train.csv and val.csv) "
            f"under the header class_id,dir, and with the images below DIR/{dataset['images']}; "
            "dataset=folder takes plain class folders instead")
