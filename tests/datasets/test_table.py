"""Tables as people have them are read right, or refused in a sentence."""

import pytest

from mmdensenet.datasets import CSVDataset
from mmdensenet.datasets.table import ImageFinder, portable_path, read_table
from mmdensenet.errors import UserError

TEXT = 'image,kind\na.png,Bär\nb.png,"x, y"\n'


def write(tmp_path, content, name='t.csv'):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / name


@pytest.mark.parametrize('delimiter', [',', ';', '\t', '|'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252'])
@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding, newline):
    text = TEXT.replace('"x, y"', f'"x{delimiter} y"').replace('image,', f' image {delimiter}')
    text = text.replace('png,', f'png{delimiter}').replace('\n', newline)
    table = read_table(write(tmp_path, text.encode(encoding)))
    assert table.header == ['image', 'kind']
    assert table.rows == [dict(image='a.png', kind='Bär'), dict(image='b.png', kind=f'x{delimiter} y')]
    assert table.lines == [2, 3]


def test_spaces_where_all_lines_have_equally_many_words(tmp_path):
    file = tmp_path / 'a.txt'
    file.write_text('patient file  class\n1 a.png  cat\n2 b.png dog \n')
    assert [*read_table(file).rows[1].values()] == ['2', 'b.png', 'dog']
    file.write_text('Image Index\nmy a.png\nb.png\n')
    assert read_table(file).header == ['Image Index']
    file.write_text('A title\nimage,class\na.png,cat\n')
    with pytest.raises(UserError, match=r"row 2: 2 fields, but the header has 1\. If the first line, 'A title', is a"):
        read_table(file)


def test_the_line_of_excel_before_the_header(tmp_path):
    for line in ('sep=;', '"sep=;"'):
        table = read_table(write(tmp_path, f'{line}\nimage;kind\na.png;x, y\n'))
        assert table.header == ['image', 'kind']
        assert (table.rows, table.lines) == ([dict(image='a.png', kind='x, y')], [3])


def test_parquet(tmp_path):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(image=['a', 'b'], A=[1.0, None])), tmp_path / 't.parquet')
    assert read_table(tmp_path / 't.parquet').rows == [dict(image='a', A='1.0'), dict(image='b', A='')]
    columns = dict(image=[b'a.png', None], kind=[[b'B\xc3\xa4r', b'cat'], []], picture=[b'\xff\xd8', b''])
    parquet.write_table(pa.table(columns), tmp_path / 't.parquet')
    assert read_table(tmp_path / 't.parquet').rows == [
        dict(image='a.png', kind='Bär|cat', picture=str(b'\xff\xd8')),
        dict(image='', kind='', picture=''),
    ]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('image,A,B\na.png,1,0\nb.png,1,0,1\n', r'row 3: 4 fields, but the header has 3'),
        ('image,A,B\n\na.png,1\n', r'row 3: too few fields, 2 of 3'),
        (b'\x00\x01\x02\x81', 'is not a table of text'),
        ('image,A\n"a.png,1\n', 'is not a CSV file'),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=rf't\.csv.*{message}'):
        read_table(write(tmp_path, content))


def test_empty_fields_at_the_end_and_empty_lines(tmp_path):
    table = read_table(write(tmp_path, 'image,A\na.png,1,,\n\n,\nb.png,0\n'))
    assert table.rows == [dict(image='a.png', A='1'), dict(image='b.png', A='0')] and table.lines == [2, 5]


def test_columns_that_are_there_twice(tmp_path):
    write(tmp_path, 'image,A,A,B\na.png,1,0,1\n')
    with pytest.raises(UserError, match="has the column 'A' 2 times"):
        CSVDataset(str(tmp_path / 't.csv'), label_columns=['A'])
    assert CSVDataset(str(tmp_path / 't.csv'), label_columns=['B']).get_data_info(0)['gt_score'].tolist() == [1]


def test_paths_of_windows_and_without_an_ending(tmp_path):
    for folder, name in (('one', 'a.jpg'), ('two', 'b.png'), ('one', 'c.jpg'), ('two', 'c.png')):
        (tmp_path / 'images' / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / folder / name).touch()
    settings = dict(data_root=str(tmp_path), ann_file='t.csv', data_prefix='images', label_columns=['A'])
    write(tmp_path, 'image,A\none\\a.jpg,1\nb,0\ntwo/b,1\n')
    dataset = CSVDataset(**settings)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(3)]
    assert paths == [str(tmp_path / 'images' / place) for place in ('one/a.jpg', 'two/b.png', 'two/b.png')]
    write(tmp_path, 'image,A\nc,1\n')
    with pytest.raises(UserError, match=r'c is .*c\.(jpg|png) as well as .*c\.(?!\1)(jpg|png): write'):
        CSVDataset(**settings)
    (tmp_path / 'images' / 'c').touch()
    assert ImageFinder(str(tmp_path / 'images'))('c') == str(tmp_path / 'images' / 'c'), 'a file of this very name'
    write(tmp_path, 'image,A\na.png,1\nC:\\data\\a.png,1\n')
    with pytest.raises(UserError, match=r'row 3: .* is on a drive of Windows'):
        CSVDataset(**settings)
    assert portable_path('a\\b/c') == 'a\\b/c'
