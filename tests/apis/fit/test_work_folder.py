"""Results of steps are whole or not there, and a step is done again only for something else."""

import os

import pytest

from mmdensenet.apis.fit.work_folder import WorkFolder, fingerprint, hash_table, write_text
from mmdensenet.errors import UserError


def test_a_step_is_done_once_for_what_it_is_made_of(tmp_path):
    work, made_of = WorkFolder(tmp_path / 'a/b'), dict(size=(3, 4), weights='none', samples='#1')
    assert work.done('look', made_of) is work.read('look') is None and work.changed('look', made_of) == []
    assert work.write('look', made_of, dict(images=5)) == dict(images=5)
    again = WorkFolder(str(tmp_path / 'a/b'))
    assert again.done('look', made_of) == dict(images=5), 'a tuple is what JSON gives back of it'
    now = dict(size=[3, 4], samples='#2', minutes=1)
    assert again.done('look', now) is None
    assert again.changed('look', now) == ['minutes: None -> 1', 'samples', 'weights: none -> None']
    work.write('scores', dict(files=['#1']), {})
    assert work.changed('scores', dict(files=['#2'])) == ['files'], 'hashes in a list'
    work.begin('look')
    work.begin('look')
    assert work.done('look', made_of) is None


@pytest.mark.parametrize('content', ['', '{"made_of": {', '[1]', '{"result": 1}'])
def test_a_file_that_is_no_result_is_done_again(tmp_path, content):
    (tmp_path / 'look.json').write_text(content)
    assert WorkFolder(tmp_path).read('look') is None


def test_files_are_written_whole_with_the_usual_rights(tmp_path):
    file = tmp_path / 'a.txt'
    file.write_text('before')
    write_text(file, 'grün')
    assert file.read_text(encoding='utf-8') == 'grün' and os.listdir(tmp_path) == ['a.txt']
    (tmp_path / 'usual').touch()
    assert file.stat().st_mode == (tmp_path / 'usual').stat().st_mode
    with pytest.raises(UserError, match=r'no/b\.txt cannot be written: no such file or directory'):
        write_text(tmp_path / 'no/b.txt', '')
    with pytest.raises(UserError, match=r'work_dir=.*a\.txt cannot be made: file exists'):
        WorkFolder(file)


def test_a_fingerprint_is_of_the_values():
    assert fingerprint(dict(a=1, b=[2])) == fingerprint(dict(b=[2], a=1)) != fingerprint(dict(a=1, b=[3]))
    assert fingerprint().startswith('#')


def test_what_is_set_aside_gets_the_next_free_name(tmp_path):
    work = WorkFolder(tmp_path)
    assert work.set_aside('a.csv') is None
    for k in (1, 2):
        (tmp_path / 'a.csv').write_text(str(k))
        assert work.set_aside('a.csv') == f'a_before{k}.csv'
    assert (tmp_path / 'a_before2.csv').read_text() == '2' and not (tmp_path / 'a.csv').exists()
    (tmp_path / 'training').mkdir()
    assert work.set_aside('training') == 'training_before1'


def test_a_hash_of_a_table_without_columns(tmp_path):
    file = tmp_path / 'a.csv'
    file.write_text('a,b,c\n1,2,"3,4"\n')
    first, without = hash_table(file), hash_table(file, ['b'])
    file.write_text('a,c\n1,"3,4"\n')
    assert hash_table(file) == without != first
    file.write_text('a,c\n1,"3,5"\n')
    assert hash_table(file) != without
