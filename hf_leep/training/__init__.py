"""Fine-tune a shortlist of candidates for real, within a budget."""
