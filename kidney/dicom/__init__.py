"""DICOM in and out: CT series from a DICOMweb archive to the HTTP server, and results back."""
