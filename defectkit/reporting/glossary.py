"""What every number of ``metrics.json`` is called and means, in words for its readers."""

GLOSSARY: dict[str, dict[str, tuple[str, str]]] = {
    "image": {
        "average_precision": (
            "Average precision",
            "How well the scores rank defective images before good ones; 1 is perfect, the share "
            "of defective images is chance.",
        ),
        "auroc": (
            "AUROC",
            "The chance that a defective image scores higher than a good one; 0.5 is guessing.",
        ),
        "threshold_low": (
            "Low threshold",
            "Images that score less are called good. Chosen on the validation split.",
        ),
        "threshold_high": (
            "High threshold",
            "Images that score at least this are called defective; those between are for review.",
        ),
        "escapes": ("Escapes", "Defective images called good."),
        "overkills": ("Overkills", "Good images called defective."),
        "reviews": ("Reviews", "Images between the thresholds, for a person to look at."),
        "n_defective": ("Defective images", "How many images bear a defect, by the labels."),
        "n_good": ("Good images", "How many bear none."),
        "escape_rate": ("Escape rate", "Escapes among the defective images."),
        "overkill_rate": ("Overkill rate", "Overkills among the good images."),
    },
    "pixel": {
        "average_precision": (
            "Average precision",
            "How well the score map ranks defect pixels before all others, over all pixels of the "
            "split at native size.",
        ),
        "dice": (
            "Dice, pooled",
            "Agreement of found and true defect pixels, all images counted as one; 1 is perfect.",
        ),
        "dice_defective_mean": (
            "Dice, mean of defective images",
            "The same for each defective image by itself, then averaged: small defects weigh as "
            "much as large ones.",
        ),
        "mean_iou": (
            "Mean IoU",
            "Intersection over union of found and true pixels, averaged over the defect classes.",
        ),
        "iou_by_class": ("IoU of class {}", "Intersection over union for one defect class."),
        "kaggle_dice": (
            "Kaggle Dice",
            "The mean over images and classes, where nothing found and nothing there counts as 1.",
        ),
        "kaggle_dice_floor": (
            "Kaggle Dice, floor",
            "What an empty answer to every image gets: compare Kaggle Dice with this.",
        ),
        "aupro_30": (
            "AUPRO",
            "The mean share of each true region that is covered, over false-positive rates of up "
            "to 30 % of the good pixels.",
        ),
    },
    "region": {
        "recall": (
            "Regions found",
            "True regions of which the finding covers at least 10 % of the pixels.",
        ),
        "recall_by_area": ("Regions of {} pixels", "The same for true regions of that area."),
        "false_alarms_per_image": (
            "False alarms per image",
            "Found regions that cover no true defect pixel.",
        ),
    },
    "box": {
        "map_50": ("mAP at 50 % overlap", "Mean average precision of boxes, as COCO counts it."),
        "map_50_95": ("mAP at 50 to 95 % overlap", "The same, averaged over ten overlaps."),
    },
    "speed": {
        "ms_per_image_median": (
            "Milliseconds per image",
            "Median, from pixels to finding.",
        ),
        "ms_per_image_p95": ("Milliseconds, 95th percentile", "One image in twenty takes longer."),
        "images_per_second": (
            "Images per second",
            "Reading and writing not counted.",
        ),
        "device": ("Device", "What computed it."),
        "threads": ("Threads", "How many processor threads the network could use."),
    },
}
"""For each section and key of ``metrics.json``: name and one-line explanation.

``{}`` in a name stands for the class or the range that a number is for.
"""

SECTION_TITLES = {
    "image": "Images",
    "pixel": "Pixels",
    "region": "Regions",
    "box": "Boxes",
    "speed": "Speed",
}
