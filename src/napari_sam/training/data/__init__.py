"""Images with ground truth, as samples, crops and batches."""
