"""DICOM in and out: CT series from a DICOMweb archive, answered by the HTTP server, results back."""
