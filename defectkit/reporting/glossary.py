"""The name and the meaning of each number in ``metrics.json``, for people who read the results."""

GLOSSARY: dict[str, dict[str, tuple[str, str]]] = {
    "image": {
        "average_precision": (
            "Average precision",
            "How well the scores rank defective images above good ones. 1 is perfect; chance level "
            "is the fraction of defective images. Not defined where all images are defective or "
            "all are good.",
        ),
        "auroc": (
            "AUROC",
            "Probability that a random defective image has a higher score than a random good one. "
            "Chance level is 0.5.",
        ),
        "threshold_low": (
            "Low threshold",
            "Images with a lower score are called good. Chosen on the validation split.",
        ),
        "threshold_high": (
            "High threshold",
            "Images with at least this score are called defective. Images between the two "
            "thresholds go to review.",
        ),
        "escapes": ("Escapes", "Defective images that were called good."),
        "overkills": ("Overkills", "Good images that were called defective."),
        "reviews": ("Reviews", "Images between the two thresholds, for a person to check."),
        "n_defective": ("Defective images", "Number of images with a labeled defect."),
        "n_good": ("Good images", "Number of images without a labeled defect."),
        "escape_rate": ("Escape rate", "Fraction of the defective images that were called good."),
        "overkill_rate": (
            "Overkill rate",
            "Fraction of the good images that were called defective.",
        ),
        "calibration_error": (
            "Calibration error",
            "By how much scores differ from the share of defective images among images of such "
            "scores, on average over ten groups of equally many images. 0 is perfect. Scores are "
            "calibrated on the validation split, at its own share of defective images.",
        ),
    },
    "pixel": {
        "average_precision": (
            "Average precision",
            "How well the score map ranks defect pixels above all others, pooled over all pixels "
            "of the split at native resolution.",
        ),
        "dice": (
            "Dice, pooled",
            "Overlap of found and true defect pixels, pooled over all images. 1 is perfect.",
        ),
        "dice_defective_mean": (
            "Dice, mean of defective images",
            "Dice of each defective image, averaged: images with small defects count as much as "
            "images with large ones.",
        ),
        "mean_iou": (
            "Mean IoU",
            "Intersection over union of found and true pixels, averaged over the defect classes. A "
            "class that is neither labeled nor found is left out; one that is only found counts "
            "as 0. Not defined where the approach does not tell classes apart.",
        ),
        "mean_iou_classes": (
            "Classes in the mean IoU",
            "Number of defect classes that are labeled or found in this split.",
        ),
        "iou_by_class": (
            "IoU of class {}",
            "Intersection over union of found and true pixels of this defect class.",
        ),
        "kaggle_dice": (
            "Kaggle Dice",
            "Dice of each image and class, averaged. It counts as 1 where nothing is labeled and "
            "nothing was found.",
        ),
        "kaggle_dice_floor": (
            "Kaggle Dice, floor",
            "Kaggle Dice of a model that never finds anything: compare Kaggle Dice with this.",
        ),
        "aupro_30": (
            "AUPRO to 30 %",
            "Mean fraction of a true region that is covered, averaged over false-positive rates "
            "of 0 to 30 % of the good pixels.",
        ),
        "aupro_05": (
            "AUPRO to 5 %",
            "The same, averaged over false-positive rates of 0 to 5 %: nearer to what an "
            "inspection can afford.",
        ),
    },
    "region": {
        "recall": (
            "Regions found",
            "True regions of which the listed regions cover at least 10 % of the pixels. Regions "
            "of images with the verdict good are not listed, so the defects of an escape are "
            "missed, unless 'Regions of all images' says yes.",
        ),
        "recall_by_area": (
            "Regions of {} pixels",
            "Regions found, among the true regions with an area in this range.",
        ),
        "precision": (
            "Listed regions that are right",
            "Listed regions of which at least 10 % of the pixels are true: a mask of whole images "
            "finds every defect, but is not right where the defects are small. Nor is the box "
            "around a thin, slanted defect, most of whose pixels are good.",
        ),
        "false_alarms_per_image": (
            "False alarms per image",
            "Listed regions that cover no true defect pixel.",
        ),
        "false_alarms_per_good_image": (
            "False alarms per good image",
            "Listed regions of good images, which are all false.",
        ),
        "good_images_with_false_alarms": (
            "Good images with false alarms",
            "Good images with at least one listed region.",
        ),
        "all_regions": (
            "Regions of all images",
            "Whether the regions of images with the verdict good are listed and counted too.",
        ),
    },
    "box": {
        "map_50": (
            "mAP at 50 % overlap",
            "Mean average precision of the boxes at an IoU of 0.5, as COCO defines it. Regions "
            "below the pixel threshold are ranked too. Where the approach does not tell classes "
            "apart, all boxes are of one class.",
        ),
        "map_50_95": (
            "mAP at 50 to 95 % overlap",
            "Mean average precision of the boxes, averaged over ten IoU thresholds from 0.5 to "
            "0.95, as COCO defines it.",
        ),
    },
    "speed": {
        "ms_per_image_median": (
            "Milliseconds per image",
            "Median, from the decoded image to the finding.",
        ),
        "ms_per_image_p95": (
            "Milliseconds, 95th percentile",
            "One image in twenty takes longer.",
        ),
        "images_per_second": (
            "Images per second",
            "Without reading images and writing results.",
        ),
        "device": ("Device", "The processor or GPU that the network ran on."),
        "threads": ("Threads", "Number of processor threads that the network could use."),
    },
    "drift": {
        "against_validation": (
            "Drift of the {}",
            "Compared with the validation images, on which the thresholds rest: the median here "
            "and there, by how much values differ on average, the distance of Kolmogorov and "
            "Smirnov with the probability that chance alone makes one as large, and the numbers of "
            "groups. Brightness and contrast are the mean and the standard deviation of the gray "
            "levels of an image.",
        ),
    },
    "by_split": {
        "train": ("Train", "The model was trained on these images: the numbers are too good."),
        "val": ("Validation", "The thresholds were chosen on these images."),
        "test": ("Test", "Images that neither the model nor its thresholds have seen."),
    },
}
"""For each section and key of ``metrics.json``: a name and an explanation in a sentence or two.

``{}`` in a name stands for the class or the area range of the number, or for what is compared.
"""

SECTION_TITLES = {
    "image": "Images",
    "pixel": "Pixels",
    "region": "Regions",
    "box": "Boxes",
    "speed": "Speed",
    "drift": "Drift",
    "by_split": "Images by split",
}
