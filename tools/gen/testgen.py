def all_files(msgs, head):
    return {}
