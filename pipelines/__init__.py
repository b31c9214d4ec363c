"""One linear ``run`` per command; imported as ``defectkit.pipelines``."""
