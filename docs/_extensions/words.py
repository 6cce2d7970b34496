"""Words that the directives write, in the languages of the site."""

CHINESE = {
    # side-by-side
    ": ": "：",
    "Pseudocode": "伪代码",
    "Code": "代码",
    # lessons
    "Solution of {}": "{} 的参考解答",
    # settings
    "Setting": "参数",
    "Default": "默认值",
    "Meaning": "含义",
    "Limits": "取值范围",
    "fixed": "创建后不可更改",
    "at least {}": "不小于 {}",
    "above {}": "大于 {}",
    "in {}": "属于 {}",
    "{} or {}": "{} 或 {}",
    # facts
    "Observations": "观测空间",
    "Actions": "动作空间",
    "Policy": "策略类型",
    "Networks": "网络",
    "Exports": "可导出为",
    "Presets": "预设参数",
    "off-policy": "异策略（off-policy）",
    "on-policy": "同策略（on-policy）",
    "off-policy, with a replay buffer": "异策略（off-policy），使用经验回放",
    "none: a table": "无，使用表格",
    "pi": "pi（策略）",
    "qf": "qf（动作价值）",
    "vf": "vf（状态价值）",
    "; ": "；",
    ", ": "、",
    "{} environments: {}": "{} 个环境：{}",
    "1 environment: {}": "1 个环境：{}",
    "none": "无",
    "{} (bounded)": "{}（有界）",
    "images only with {}": "图像（须设置 {}）",
    # curves
    "environment steps": "环境步数",
    "mean return": "平均回报",
    "{n} seeds, {steps} environment steps; mean return of the trained agents {mean}, "
    "worst {worst}.":
        "{n} 个随机种子，{steps} 个环境步；训练后智能体的平均回报 {mean}，最差 {worst}。",
    "1 seed, {steps} environment steps; return of the trained agent {mean}.":
        "1 个随机种子，{steps} 个环境步；训练后智能体的回报 {mean}。",
    "Line: interquartile mean of the evaluations during training; band: 95 % bootstrap interval; "
    "thin lines: the seeds. Diamonds: figures that others have published.":
        "粗线：训练中各次评估的四分位均值；色带：95% 自助法置信区间；细线：各随机种子。"
        "菱形：他人公开的结果。",
    "No run of {} is stored in benchmarks/curves.": "benchmarks/curves 中没有 {} 的训练记录。",
    "Made by {}.": "生成命令：{}。",
    # reference
    "[The page of {name}](../algorithms/{file}.md)": "[{name} 的说明页](../algorithms/{file}.md)",
    # source pages
    "[source]": "[源代码]",
    # lessons
    "Download this lesson as a notebook": "下载本课的 Jupyter 笔记本",
}  # fmt: skip
# of the theme, which has no Chinese
THEME = {
    "On this page": "本页内容",
    "Next": "下一页",
    "Previous": "上一页",
    "Home": "首页",
    "Back to top": "回到顶部",
    "Skip to content": "跳到正文",
    "Made with ": "网站工具：",
    "Copyright &#169; %(copyright)s": "版权所有 &#169; %(copyright)s",
    "Please activate JavaScript to enable the search functionality.": "搜索需要启用 JavaScript。",
}
# what the theme and MyST-NB write without a translation: labels and the titles of icons
LABELS = {
    "Toggle site navigation sidebar": "展开或收起站点导航",
    "Toggle table of contents sidebar": "展开或收起本页内容",
    "Toggle Light / Dark / Auto color theme": "切换浅色、深色或自动配色",
    "Toggle navigation of ": "展开或收起：",
    "Toggle hidden content": "展开或收起",
    "Contents": "本页内容",
    "Menu": "菜单",
    "Expand": "展开",
    "Light mode": "浅色",
    "Dark mode": "深色",
    "Auto light/dark, in light mode": "自动配色，当前为浅色",
    "Auto light/dark, in dark mode": "自动配色，当前为深色",
}


def word(config, text):
    """The text in the language of the site. KeyError where the Chinese one is missing."""
    return CHINESE[text] if (config.language or "en").startswith("zh") else text
