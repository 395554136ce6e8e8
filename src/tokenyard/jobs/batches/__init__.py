"""OpenAI's Files and Batches: requests in files, run on the model servers that chats leave free."""
