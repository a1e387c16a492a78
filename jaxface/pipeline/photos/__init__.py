"""From photos to answers: faces of photos, aligned folders, comparison, galleries and clusters."""
