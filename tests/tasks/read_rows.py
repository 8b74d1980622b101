"""Answers worked out from the text of a row, by splitting strings; knows nothing of the makers."""


def words_of(task, row):
    """The row's symbols up to its padding."""
    return [task.symbols[token] for token in row.tokens.tolist()][: int(row.length)]


def item_and_question(words):
    """What is read and what is asked, of a plain layout: <bos> ITEM ? QUESTION = ANSWER."""
    body = words[1 : words.index("=")]
    if "?" not in body:
        return body, []
    at = body.index("?")
    return body[:at], body[at + 1 :]


def expected(name, item, question):
    """The answer to a plain layout's item and question, as a list of symbols."""
    text = "".join(item)
    number = lambda value: [*str(value), "<eos>"]
    match name:
        case "copy_first":
            return [item[0]]
        case "copy_last" | "copy_zero" | "copy_alternating" | "copy_hint":
            return [item[-1]]
        case "copy_at":
            return [item[int("".join(question))]]
        case "copy_string":
            return [*item, "<eos>"]
        case "count_ones":
            return number(len(text))
        case "count_mixed":
            return number(text.count("1"))
        case "sum_ones":
            return number(sum(map(int, text.split("+"))))
        case "count_word":
            return number(item.count(question[0]))
        case "recall":
            [value] = [v for k, v in zip(item[::2], item[1::2], strict=True) if k == question[0]]
            return [value]
        case "max_retrieval":
            pairs = [word.strip("p").split("c") for word in item]
            top = max(priority for priority, _ in pairs)
            [kind] = [kind for priority, kind in pairs if priority == top]
            return [kind]
    raise AssertionError(name)
