from defectkit.data.columns import BytesColumn, RepeatedColumn, TextColumn


def test_texts_come_back_as_they_were():
    texts = ["", "007", "naïve", "", "面", "\udcff"]
    column = TextColumn()
    for text in texts:
        column.append(text)
    assert [column[number] for number in range(len(column))] == texts


def test_bytes_come_back_as_they_were():
    contents = [b"", b"\0\xff", b"a" * 300, b""]
    column = BytesColumn()
    for content in contents:
        column.append(content)
    assert [column[number] for number in range(len(column))] == contents
    assert all(type(column[number]) is bytes for number in range(len(column)))


def test_equal_values_are_kept_once():
    texts = ["".join(["1 ", "5"]) for _ in range(3)]
    column = RepeatedColumn()
    for value in (*texts, None, (1, "x"), texts[0]):
        column.append(value)
    values = [column[number] for number in range(len(column))]
    assert values == [*texts, None, (1, "x"), texts[0]]
    assert {id(value) for value in values if value == "1 5"} == {id(texts[0])}
