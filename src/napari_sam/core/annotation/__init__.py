"""What an annotation is: prompts, object records, and the transactions of both."""
