"""What explanations cost, beside the model's own passes and beside peers."""
